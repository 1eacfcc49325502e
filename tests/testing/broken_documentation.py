"""Fusions with one wrong declaration each, by the only check that fails."""

from __future__ import annotations

from typing import Any, ClassVar

from testing.good_plugins import GoodFusion


class NoSummary(GoodFusion):
    """The mean of views, with a summary
    of two lines.

    Reference: a toy.
    """


class UnknownOption(GoodFusion):
    """The mean of views.

    Reference: a toy.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, temperature: float = 1.0) -> None:
        super().__init__(in_dims, num_classes)


class NoReference(GoodFusion):
    """The mean of views."""


class SetForOption(GoodFusion):
    """The mean of views.

    Args:
        choices: some.

    Reference: a toy.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, choices: Any = frozenset({1})) -> None:
        super().__init__(in_dims, num_classes)


class WrongExample(GoodFusion):
    """The mean of views.

    Args:
        title: a text.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"title": None},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, title: str = "") -> None:
        super().__init__(in_dims, num_classes)


class RevisionAsText(GoodFusion):
    """The mean of views.

    Reference: a toy.
    """

    revision: ClassVar[Any] = "2"


class PlaceWithoutOption(GoodFusion):
    """The mean of views.

    Reference: a toy.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)


BROKEN: dict[str, type] = {
    "docstring_has_a_summary": NoSummary,
    "docstring_explains_every_option": UnknownOption,
    "docstring_names_a_reference": NoReference,
    "options_are_plain_data": SetForOption,
    "examples_are_option_sets": WrongExample,
    "revision_is_a_positive_integer": RevisionAsText,
    "declarations_are_known": PlaceWithoutOption,
}
