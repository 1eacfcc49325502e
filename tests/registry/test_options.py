"""Options: read from ``__init__``, and checked against their annotations, all problems at once."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from torch import nn

from fusionkit.contracts import Count, NonNegative, Positive, Probability, Range
from fusionkit.registry.options import check_options, defaults_filled, given_options, options_of, requirement
from fusionkit.registry.spec import Spec
from fusionkit.training.finetune_config import FinetuneRunSection


class Toy:
    """Has one option of each kind."""

    provided: ClassVar[tuple[str, ...]] = ("in_dims",)

    def __init__(
        self,
        in_dims: dict[str, int],
        count: int,
        rate: float = 1,
        name: str | None = None,
        flag: bool = False,
        mode: Literal["a", "b", 3] = "a",
        width: int | Literal["auto"] = 5,
        sizes: list[int] | None = None,
        pair: tuple[int, str] = (1, "a"),
        widths: list[Count] | None = None,
        share: Probability | None = None,
        alpha: Positive | Literal["auto"] = "auto",
        many: tuple[float, ...] = (),
        table: dict[str, Any] | None = None,
        rows: Sequence[str] = (),
        anything: Any = None,
    ) -> None: ...


class Layer(nn.Module):
    """A class whose metaclass and base have signatures of their own."""

    provided: ClassVar[tuple[str, ...]] = ()

    def __init__(self, width: int = 3, *args: Any, **more: Any) -> None: ...


class Odd:
    """An annotation that cannot be resolved at run time, beside one that can."""

    provided: ClassVar[tuple[str, ...]] = ("in_dims",)

    def __init__(self, in_dims: int = 0, width: "NotThere" = 3, depth: "Count" = 1, **more: Any) -> None: ...  # noqa: F821


class More(Toy):
    """Has one option more than its base, and another default."""

    def __init__(self, in_dims: dict[str, int], mine: float = 0.5, name: str = "more", **options: Any) -> None: ...


class Bare:
    """Has no options."""

    provided: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None: ...


def test_options_are_the_named_arguments_that_the_kernel_does_not_pass() -> None:
    assert list(options_of(Toy))[:3] == ["count", "rate", "name"]
    assert "in_dims" not in options_of(Toy)
    assert [name for name, option in options_of(Toy).items() if option.required] == ["count"]
    assert list(options_of(Layer)) == ["width"]
    assert options_of(Bare) == {}


def test_options_that_are_passed_on_are_those_of_the_base_class() -> None:
    found = options_of(More)
    assert list(found) == ["mine", "name", *(name for name in options_of(Toy) if name != "name")]
    assert (found["name"].default, found["flag"].type_name) == ("more", "bool")
    assert check_options(More, {"count": 1, "flag": True, "mine": 1}) == []
    assert check_options(More, {"flg": True, "mode": "c"}) == [
        "option 'count' is missing",
        "unknown option 'flg' (did you mean 'flag'?)",
        "option mode = 'c' must be one of: a, b, 3",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "int"),
        ("name", "str | null"),
        ("mode", "'a' | 'b' | 3"),
        ("width", "int | 'auto'"),
        ("sizes", "list[int] | null"),
        ("pair", "tuple[int, str]"),
        ("many", "tuple[float, ...]"),
        ("rows", "Sequence[str]"),
        ("widths", "list[int >= 1] | null"),
        ("share", "0 <= float <= 1 | null"),
        ("alpha", "float > 0 | 'auto'"),
        ("anything", "any"),
    ],
)
def test_type_names_are_plain_and_state_the_range(name: str, text: str) -> None:
    assert options_of(Toy)[name].type_name == text


GOOD: dict[str, list[Any]] = {
    "count": [0, -3, 10**30],
    "rate": [0, 1.5, -2],
    "name": ["x", "", None, 3, True],
    "flag": [True, False],
    "mode": ["a", "b", 3],
    "width": [7, "auto"],
    "sizes": [[], [1, 2], (1, 2), None],
    "pair": [[1, "a"], (2, "b")],
    "widths": [[], [1, 5], None],
    "share": [0, 1, 0.5, None],
    "alpha": ["auto", 1e-9, 3],
    "many": [[], [1, 2.5]],
    "table": [{}, {"a": [1]}, None],
    "rows": [["a"], []],
    "anything": [1, "x", None, [{}]],
}
BAD: dict[str, list[Any]] = {
    "count": [1.0, "1", True, None, [1]],
    "rate": ["1", True, None, {}, 10**400],
    "name": [1.5, ["x"]],
    "flag": [0, 1, "true", None],
    "width": ["Auto", 1.5, True, None],
    "sizes": [3, "1,2", ["a"], [1, True], {"a": 1}],
    "pair": [3, "ab", [1], [1, "a", "b"], ["a", 1]],
    "widths": [[0], [1, -1], [1.5], 3, ["a"]],
    "share": ["0.5x", True, [0.5]],
    "alpha": ["Auto", None, True],
    "many": [["a"], 1.5, [math.nan]],
    "table": [[], "x", 3],
    "rows": ["abc", [1], 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_value_of_the_right_type_is_accepted(name: str, value: Any) -> None:
    assert check_options(Toy, {"count": 1, name: value}) == []


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_of_the_wrong_type_is_refused_naming_type_and_value(name: str, value: Any) -> None:
    (problem,) = check_options(Toy, {"count": 1, name: value})
    assert problem.startswith(f"option {name} = {value!r} must be {options_of(Toy)[name].type_name}")


@pytest.mark.parametrize("value", ["c", 3.0, True, None])
def test_a_value_that_is_no_choice_is_refused_naming_the_choices(value: Any) -> None:
    assert check_options(Toy, {"count": 1, "mode": value}) == [f"option mode = {value!r} must be one of: a, b, 3"]


Small = Annotated[Count, Range(most=9)]


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (0, Count, "at least 1"),
        ("x", Count, "int >= 1"),
        (1.0, Count, "int >= 1"),
        (0, Positive, "above 0"),
        (-1e-9, NonNegative, "at least 0"),
        (2, Probability, "at least 0 and at most 1"),
        (math.nan, Probability, "finite"),
        (-math.inf, float, "finite"),
        (math.inf, Positive | None, "finite"),
        (math.inf, Count, "int >= 1"),
        (-1, Positive | None, "above 0"),
        (-1.5, Literal["auto"] | Positive, "above 0"),
        ("x", Literal["auto"] | Positive, "'auto' | float > 0"),
        (True, Probability | None, "0 <= float <= 1 | null"),
        (0, Annotated[float | None, Range(above=0)], "above 0"),
        (0, Small, "at least 1 and at most 9"),
        (10, Small, "at least 1 and at most 9"),
        ("3", Small, "1 <= int <= 9 (write 3)"),
        ("0", Small, "1 <= int <= 9"),
        (5, Annotated[int, Range(least=2), "of pixels", Range(least=6, below=8)], "at least 6 and below 8"),
        ([1, 0], list[Count], "list[int >= 1]"),
        (1234567, Annotated[int, Range(below=1234567)], "below 1234567"),
        (0.1, Annotated[float, Range(above=0.1, below=0.25)], "above 0.1 and below 0.25"),
    ],
)
def test_a_value_out_of_range_is_refused_naming_the_range(value: Any, annotation: Any, text: str) -> None:
    assert requirement(value, annotation) == text


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, Small),
        (9, Small),
        (None, Annotated[float | None, Range(above=0)]),
        (0.5, Literal["auto"] | Positive),
        ("auto", Literal["auto"] | Positive),
        (-3, Annotated[int, "no range"]),
        (object(), object),
    ],
)
def test_a_value_in_range_is_accepted(value: Any, annotation: Any) -> None:
    assert requirement(value, annotation) == ""


@pytest.mark.parametrize(
    ("limits", "name", "words"),
    [
        (Range(), "x", ""),
        (Range(least=1), "x >= 1", "at least 1"),
        (Range(above=0), "x > 0", "above 0"),
        (Range(most=9), "x <= 9", "at most 9"),
        (Range(below=9), "x < 9", "below 9"),
        (Range(above=0, most=1), "0 < x <= 1", "above 0 and at most 1"),
        (Range(least=-1, below=0.5), "-1 <= x < 0.5", "at least -1 and below 0.5"),
    ],
)
def test_a_range_is_written_around_a_name_and_in_words(limits: Range, name: str, words: str) -> None:
    assert limits.of("x") == name
    assert str(limits) == words


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("flag", "True", " (write true)"),
        ("rate", ".5", " (write 0.5)"),
        ("rate", "1_000", " (write 1000)"),
        ("sizes", "[1, 0x10]", " (write [1, 16])"),
        ("table", "{'a': 1}", ' (write {"a": 1})'),
        ("count", "None", ""),
        ("count", "many", ""),
        ("count", "f(", ""),
        ("count", "(" * 10_000, ""),
    ],
)
def test_a_value_in_python_syntax_is_shown_in_json(name: str, value: str, hint: str) -> None:
    (problem,) = check_options(Toy, {"count": 1, name: value})
    assert problem == f"option {name} = {value!r} must be {options_of(Toy)[name].type_name}{hint}"


def test_every_problem_is_reported_at_once() -> None:
    assert check_options(Toy, {"raet": 1, "flag": 3, "in_dims": {}, 5: 1}) == [
        "option 'count' is missing",
        "unknown option 'raet' (did you mean 'rate'?)",
        "option flag = 3 must be bool",
        f"unknown option 'in_dims' (known options: {', '.join(options_of(Toy))})",
        f"unknown option 5 (known options: {', '.join(options_of(Toy))})",
    ]
    assert check_options(Bare, {"x": 1}) == ["unknown option 'x' (known options: none)"]


def test_a_component_that_takes_any_option_gets_them_all_but_the_kernel_s_own() -> None:
    assert check_options(Odd, {"width": object(), "whatever": 3}) == []
    assert check_options(Layer, {"whatever": 3, "width": "x"}) == ["option width = 'x' must be int"]
    assert len(check_options(Odd, {"in_dims": 3})) == 1


def test_an_annotation_that_cannot_be_resolved_leaves_the_others_checked() -> None:
    assert options_of(Odd)["width"].type_name == "any"
    assert check_options(Odd, {"depth": 0}) == ["option depth = 0 must be at least 1"]


def test_the_options_of_a_wrapped_init_are_those_inside() -> None:
    class Wrapped(Toy):
        @functools.wraps(Toy.__init__)
        def __init__(self, *args: Any, **options: Any) -> None: ...

    assert options_of(Wrapped) == options_of(Toy)


def test_defaults_are_filled_in_and_ints_for_floats_become_floats() -> None:
    filled = defaults_filled(Toy, {"count": 2, "many": [1]})
    assert filled["count"] == 2
    assert type(filled["count"]) is int
    assert filled["mode"] == "a"
    assert type(filled["rate"]) is float
    assert filled == {**defaults_filled(Toy, {"count": 2, "rate": 1.0, "width": 5}), "many": [1]}
    assert isinstance(filled, Mapping)
    assert math.isclose(defaults_filled(Toy, {"rate": 3})["rate"], 3)
    assert [type(defaults_filled(Toy, {name: 1})[name]) for name in ("share", "alpha", "width")] == [float, float, int]
    assert defaults_filled(Toy, {"share": None, "alpha": "auto"})["share"] is None


def test_a_dataclass_checks_the_fields_of_a_base_from_another_module() -> None:
    @dataclass(frozen=True)
    class Derived(FinetuneRunSection):
        more: int = 1

    assert check_options(Derived, {"workers": -1}) == ["option workers = -1 must be at least 0 and at most 1024"]


@pytest.mark.parametrize(
    ("value", "annotation", "required"),
    [
        ("linaer", Literal["nearest", "linear"], "one of: nearest, linear (did you mean 'linear'?)"),
        ("auot", Literal["auto"] | int, "'auto' | int (did you mean 'auto'?)"),
        ("7", Literal["auto"] | int, "'auto' | int (write 7)"),
        ("cubic", Literal["nearest", "prior"], "one of: nearest, prior"),
        (3, Literal["nearest", "prior"], "one of: nearest, prior"),
    ],
)
def test_the_nearest_choice_is_named(value: object, annotation: Any, required: str) -> None:
    assert requirement(value, annotation) == required


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


class Typed:
    """Options whose values are objects, or are written like another type."""

    provided: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        root: str = "x",
        path: Path | None = None,
        names: list[str] | None = None,
        pair: tuple[int, int] = (1, 2),
        mode: Mode = Mode.FAST,
        flag: bool = False,
        number: int | None = None,
        either: str | int = "a",
        views: tuple[str, ...] = (),
    ) -> None: ...


@pytest.mark.parametrize(
    ("text", "value", "plain"),
    [
        ("root=2024", "2024", "2024"),
        ("root=true", "true", "true"),
        ("path=a/b", Path("a/b"), "a/b"),
        ("path=2024", Path("2024"), "2024"),
        ("path=null", None, None),
        ("names=[eye,mouth]", ["eye", "mouth"], ["eye", "mouth"]),
        ("names=[]", [], []),
        ("pair=[3,4]", (3, 4), [3, 4]),
        ("mode=slow", Mode.SLOW, "slow"),
        ("either=3", 3, 3),
        ("views=[eye,drop:mouth]", ("eye", "drop:mouth"), ["eye", "drop:mouth"]),
    ],
)
def test_options_arrive_as_their_annotation_says_and_are_plain_in_identities(text: str, value: Any, plain: Any) -> None:
    options = Spec.parse(f"typed:{text}").options
    name = text.partition("=")[0]
    assert check_options(Typed, options) == []
    arrived = given_options(Typed, options)[name]
    assert (arrived, type(arrived)) == (value, type(value))
    assert defaults_filled(Typed, options)[name] == plain
    assert defaults_filled(Typed, {})["mode"] == "fast"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root=1.5", 'must be str (write "1.5")'),
        ("names=eye", 'must be list[str] | null (write ["eye"])'),
        ("names=[eye,1]", 'must be list[str] | null (write ["eye", "1"])'),
        ("mode=FAST", "must be 'fast' | 'slow' (write \"fast\")"),
        ("mode=slw", "must be 'fast' | 'slow' (did you mean 'slow'?)"),
        ("flag=True", "must be bool (write true)"),
        ("flag=no", "must be bool (write false)"),
        ("flag=1", "must be bool (write true)"),
        ("number=None", "must be int | null (write null)"),
        ("number=none", "must be int | null (write null)"),
        ("pair=3", "must be tuple[int, int] (write [3, 3])"),
        ("number=[a,b]", "must be int | null"),
    ],
)
def test_a_refused_value_shows_how_to_write_it(text: str, expected: str) -> None:
    (problem,) = check_options(Typed, Spec.parse(f"typed:{text}").options)
    assert problem.endswith(expected), problem


def test_a_text_with_an_open_bracket_is_refused() -> None:
    (problem,) = check_options(Typed, {"names": "[a,(]"})
    assert problem == "option names = '[a,(]' must be list[str] | null (write [\"[a,(]\"])"
