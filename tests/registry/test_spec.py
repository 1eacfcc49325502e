"""SPEC: what is written reads back the same, and comma lists fall apart where they should."""

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import ConfigError
from fusionkit.registry.spec import Spec, parse_value, split_outside, split_specs

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]*", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True).filter(lambda key: key != "type")
# Text of the characters that mean something, mixed with those that do not.
TEXTS = st.text(st.sampled_from("ab1.=,:;'\"\\[]{}() \t\n-_/|é")) | st.text(st.characters(codec="utf-8"))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=6)
SPECS = st.builds(Spec, NAMES, st.dictionaries(KEYS, VALUES, max_size=4))


@given(SPECS)
def test_a_written_spec_reads_back_the_same(spec: Spec) -> None:
    back = Spec.parse(str(spec))
    assert back == spec
    assert hash(back) == hash(spec)
    assert dict(back.options) == dict(spec.options)


@given(st.lists(SPECS, min_size=1, max_size=4))
def test_joined_specs_split_into_the_same_ones(specs: list[Spec]) -> None:
    texts = [str(spec) for spec in specs]
    assert split_specs([",".join(texts)]) == texts
    assert split_specs(texts) == texts
    assert [Spec.parse(text) for text in split_specs([" , ".join(texts)])] == specs


@given(SPECS)
def test_a_dict_and_the_text_of_it_are_one_spec(spec: Spec) -> None:
    assert Spec.of({"type": spec.name, **spec.options}) == Spec.of(str(spec)) == Spec.of(spec) == spec


@given(st.text())
def test_any_text_is_a_spec_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        spec = Spec.parse(text)
        assert Spec.parse(str(spec)) == spec


@given(st.text(st.sampled_from("ab=:,'\"[]{}() \\"), max_size=20))
def test_any_list_of_specs_is_split_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert all(piece.strip() == piece != "" for piece in split_specs([text]))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a:x=3", {"x": 3}),
        ("a:x=-3,y=-0.5,z=1e-3", {"x": -3, "y": -0.5, "z": 0.001}),
        ("a:x=true,y=null,z=True", {"x": True, "y": None, "z": "True"}),
        ("a:x=[b,c-d],y=[1,auto],z=['q r', \"s\"]", {"x": ["b", "c-d"], "y": [1, "auto"], "z": ["q r", "s"]}),
        ("a:x=[[b],[c]]", {"x": "[[b],[c]]"}),
        ('a:x="[b]",y=[b]c', {"x": "[b]", "y": "[b]c"}),
        ("a:x=007", {"x": "007"}),
        ("a:x=", {"x": ""}),
        ("a:x==y", {"x": "=y"}),
        (r"a:x=C:\data\new,y=D:\b", {"x": r"C:\data\new", "y": r"D:\b"}),
        (r"a:x='C:\data\new',y=1", {"x": r"C:\data\new", "y": 1}),
        (r"a:x='C:\data\'", {"x": "C:\\data\\"}),
        (r'a:x="(\d+),(\w)"', {"x": r"(\d+),(\w)"}),
        (r"a:x=^(\d{1,2})_[^,]+$", {"x": r"^(\d{1,2})_[^,]+$"}),
        ("a:x='b,c',y='d=e'", {"x": "b,c", "y": "d=e"}),
        ("a:x=\"it's, yes\",y=it's", {"x": "it's, yes", "y": "it's"}),
        ('a:x={"b":[1,{"c":"d,e"}],"f":"}"},y=[1,2]', {"x": {"b": [1, {"c": "d,e"}], "f": "}"}, "y": [1, 2]}),
        ("a:x=NaN,y=-Infinity,z=1e999", {"x": "NaN", "y": "-Infinity", "z": "1e999"}),
        ("a: x = 3 , y = b c ", {"x": 3, "y": "b c"}),
        ("a:x=" + "1" * 5000, {"x": "1" * 5000}),
    ],
)
def test_options_are_json_where_they_can_be_and_text_elsewhere(text: str, options: dict[str, Any]) -> None:
    spec = Spec.parse(text)
    assert spec.name == "a"
    assert {key: (type(value), value) for key, value in spec.options.items()} == {
        key: (type(value), value) for key, value in options.items()
    }
    assert Spec.parse(str(spec)) == spec


def test_a_deeply_nested_value_stays_text() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert parse_value(deep) == deep


@pytest.mark.parametrize(
    ("texts", "specs"),
    [
        (["concat,mlp"], ["concat", "mlp"]),
        (["mlp:hidden=3,width=5"], ["mlp:hidden=3,width=5"]),
        (["concat,width=5,mlp"], ["concat:width=5", "mlp"]),
        (["a:x=1,b:y=2,z=3,c"], ["a:x=1", "b:y=2,z=3", "c"]),
        (["a:x=1", "b"], ["a:x=1", "b"]),
        (["a:x=[1,2],y='p,q=r:s',b"], ["a:x=[1,2],y='p,q=r:s'", "b"]),
        (["a:x=b:c,d"], ["a:x=b:c", "d"]),
        ([r"folder:root=C:\a,subject=^(\w{1,3}),hog"], [r"folder:root=C:\a,subject=^(\w{1,3})", "hog"]),
        ([], []),
    ],
)
def test_an_item_with_an_equals_sign_and_no_colon_before_it_continues(texts: list[str], specs: list[str]) -> None:
    assert split_specs(texts) == specs


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not start with a component's name"),
        (":x=1", "does not start with a component's name"),
        ("-a", "does not start with a component's name"),
        ("x=0.5", "does not start with a component's name"),
        ("a b", "does not start with a component's name"),
        ("os.system", "is a dotted path"),
        ("torch.nn.Linear:a=1", "is a dotted path"),
        ("a:", "without options"),
        ("a:x", "'x' in 'a:x' is not an option"),
        ("a:x=1,2", "'2' in 'a:x=1,2' is not an option"),
        ("a:1x=1", "is not an option"),
        ("a:x=1,,y=2", "has an empty item"),
        ("a:x=1,", "has an empty item"),
        ("a:x=1,x=2", "option 'x' is given twice"),
        ("a:x=[1,2", "no closing ']'"),
        ("a:x=1]", "unmatched ']'"),
        ("a:x=[1)", "unmatched ')'"),
        ("a:x='b", "no closing '"),
        ('a:x="C:\\data\\"', "in single quotes a backslash needs no escape"),
    ],
)
def test_a_malformed_spec_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Spec.parse(text)
    assert reason in str(refused.value)
    assert len(refused.value.problems) == 1


def test_an_option_before_any_component_is_refused_in_each_text() -> None:
    with pytest.raises(ConfigError, match="starts with an option"):
        split_specs(["mlp", "hidden=3"])


@pytest.mark.parametrize(
    "value",
    [
        3,
        None,
        [],
        {},
        {"name": "a"},
        {"type": 3},
        {"type": dict},
        {"type": "a", "x": {1, 2}},
        {"type": "a", "x": math.nan},
        {"type": "a", "x": [math.inf]},
        {"type": "a", "x": object()},
        {"type": "a", "x y": 1},
        {"type": "a", 3: 1},
    ],
)
def test_other_config_values_are_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        Spec.of(value)


def test_a_dict_adds_to_the_options_in_its_type_and_holds_plain_data_only() -> None:
    spec = Spec.of({"type": "a:x=1,y=2", "y": (3, 4), "z": {5: 6}})
    assert spec.options == {"x": 1, "y": [3, 4], "z": {"5": 6}}


def test_specs_are_equal_if_their_texts_are() -> None:
    assert Spec("a", {"x": 1, "y": 2}) == Spec("a", {"y": 2, "x": 1})
    assert Spec("a", {"x": 1}) != Spec("a", {"x": True})
    assert Spec("a") != "a"
    assert len({Spec("a", {"x": [1]}), Spec("a", {"x": [1]}), Spec("a", {"x": [2]})}) == 2


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("eye,mouth", ["eye", "mouth"]), (" a , (b,c) ", ["a", "(b,c)"]), ('"a,b",c', ['"a,b"', "c"])],
)
def test_commas_split_outside_brackets_and_quotes(text: str, pieces: list[str]) -> None:
    assert split_outside(text) == pieces
