"""Base of all components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Component:
    """Base of data sets, extractors, backbones, fusions and smoothers.

    A component's options are the named arguments of its ``__init__``. Their values come from a config or the command
    line, so they are plain data: numbers, strings, booleans, lists, dicts. Their annotations state type and range: see
    :mod:`fusionkit.contracts.option_types`.

    Attributes:
        kind: singular name of the kind, as in error messages.
        revision: raise it when the same options give other results than before. Stored results then count as stale.
        provided: arguments of ``__init__`` that the kernel passes. They are not options.
        files: options that name a local file whose *bytes* decide the results (weights, a template), or several files,
            by :meth:`files_of`. Their content enters the identity of results, their path does not. Source is followed
            through imports; a file that a component opens by itself is unknown unless it is named here.
        places: options with the location of data (a root folder). They never enter the identity of results.
        nested: options that name another component, as a SPEC or a dict, each with its kind: ``{"source": "dataset"}``.
            The identity of that component enters the identity of this one.
        examples: option sets that are cheap to build and run. Tests and the conformance kit use each of them.
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
        """Return the paths of the files that an option of ``files`` names. Override it if the option names several.

        Args:
            option: name of the option.
            options: all options, defaults filled in.
        """
        return [options[option]]
