"""What every component of every kind shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Component:
    """Base of data sets, extractors, backbones, fusions and smoothers.

    A component's options are the keyword arguments of its ``__init__``, by name, with defaults where there is one.
    They come from a config or the command line, so they are plain data: numbers, strings, booleans, lists, dicts.

    Attributes:
        kind: singular name of the kind, as in error messages.
        revision: raise it when the same options give other results than before; stored results then count as stale.
        provided: arguments of ``__init__`` that the kernel passes, and which are therefore not options.
        files: options that name a local file whose *bytes* decide the results (weights, a template), or, by
            :meth:`files_of`, several: their content enters the identity of results, their path does not.
        places: options that say only where data lie (a root folder) and never enter the identity of results.
        nested: options that name another component, as a SPEC or a dict, each with its kind: ``{"source": "dataset"}``.
            What decides its results decides this one's.
        examples: option sets that are cheap to build and run; tests and the conformance kit use each of them.
        expected_failures: checks of the conformance kit that the component is known to fail, each with the reason.
    """

    kind: ClassVar[str] = "component"
    revision: ClassVar[int] = 1
    provided: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = ()
    places: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[Mapping[str, str]] = {}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    expected_failures: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def files_of(cls, option: str, options: Mapping[str, Any]) -> list[str]:
        """The paths of what an option of ``files`` names; override it where the option names a set of files.

        Args:
            option: its name.
            options: all options, defaults filled in.
        """
        return [options[option]]
