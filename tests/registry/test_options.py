"""Options: read off ``__init__``, and checked against it, every mistake at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pytest
from torch import nn

from fusionkit.registry.options import check_options, defaults_filled, options_of


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
    """An annotation that cannot be followed at run time."""

    provided: ClassVar[tuple[str, ...]] = ("in_dims",)

    def __init__(self, in_dims: int = 0, width: "NotThere" = 3, **more: Any) -> None: ...  # noqa: F821


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


def test_options_that_are_handed_on_are_those_of_the_class_behind() -> None:
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
        ("anything", "any"),
    ],
)
def test_types_are_told_as_a_user_writes_them(name: str, text: str) -> None:
    assert options_of(Toy)[name].type_name == text


GOOD: dict[str, list[Any]] = {
    "count": [0, -3, 10**30],
    "rate": [0, 1.5, -2],
    "name": ["x", "", None],
    "flag": [True, False],
    "mode": ["a", "b", 3],
    "width": [7, "auto"],
    "sizes": [[], [1, 2], (1, 2), None],
    "pair": [[1, "a"]],
    "many": [[], [1, 2.5]],
    "table": [{}, {"a": [1]}, None],
    "rows": [["a"], []],
    "anything": [1, "x", None, [{}]],
}
BAD: dict[str, list[Any]] = {
    "count": [1.0, "1", True, None, [1]],
    "rate": ["1", True, None, {}],
    "name": [3, True, ["x"]],
    "flag": [0, 1, "true", None],
    "mode": ["c", 3.0, True, None],
    "width": ["Auto", 1.5, True, None],
    "sizes": [3, "1,2", ["a"], [1, True], {"a": 1}],
    "pair": [3, "ab"],
    "many": [["a"], 1.5],
    "table": [[], "x", 3],
    "rows": ["abc", [1], 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_value_of_the_right_type_is_taken(name: str, value: Any) -> None:
    assert check_options(Toy, {"count": 1, name: value}) == []


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_value_of_the_wrong_type_is_refused_naming_type_and_value(name: str, value: Any) -> None:
    (problem,) = check_options(Toy, {"count": 1, name: value})
    assert problem.startswith(f"option {name} = {value!r} is not {options_of(Toy)[name].type_name}")


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
def test_a_value_in_python_s_writing_is_told_in_json(name: str, value: str, hint: str) -> None:
    (problem,) = check_options(Toy, {"count": 1, name: value})
    assert problem == f"option {name} = {value!r} is not {options_of(Toy)[name].type_name}{hint}"


def test_every_mistake_is_told_at_once() -> None:
    assert check_options(Toy, {"raet": 1, "flag": 3, "in_dims": {}, 5: 1}) == [
        "option 'count' is missing",
        "unknown option 'raet' (did you mean 'rate'?)",
        "option flag = 3 is not bool",
        f"unknown option 'in_dims' (it has {', '.join(options_of(Toy))})",
        f"unknown option 5 (it has {', '.join(options_of(Toy))})",
    ]
    assert check_options(Bare, {"x": 1}) == ["unknown option 'x' (it has no options)"]


def test_a_component_that_takes_any_option_gets_them_all_but_the_kernel_s_own() -> None:
    assert check_options(Odd, {"width": object(), "whatever": 3}) == []
    assert check_options(Layer, {"whatever": 3, "width": "x"}) == ["option width = 'x' is not int"]
    assert len(check_options(Odd, {"in_dims": 3})) == 1


def test_defaults_are_filled_in_and_whole_numbers_for_floats_made_floats() -> None:
    filled = defaults_filled(Toy, {"count": 2, "many": [1]})
    assert filled["count"] == 2
    assert type(filled["count"]) is int
    assert filled["mode"] == "a"
    assert type(filled["rate"]) is float
    assert filled == {**defaults_filled(Toy, {"count": 2, "rate": 1.0, "width": 5}), "many": [1]}
    assert isinstance(filled, Mapping)
    assert math.isclose(defaults_filled(Toy, {"rate": 3})["rate"], 3)
