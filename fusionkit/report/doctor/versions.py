"""The versions of what fusionkit is built on, against the bounds that its own metadata state."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fusionkit import __version__
from fusionkit.report.doctor.finding import Finding

_NOT_FOR_USERS = ("test", "docs", "dev")
# Distributions that bring the same module; two of them at once overwrite each other's files.
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def versions() -> Iterator[Finding]:
    """fusionkit, Python, each requirement, and what the extras would bring."""
    try:
        own = metadata("fusionkit")
    except PackageNotFoundError:
        advice = "pip install -e . in the checkout; without it there are no plugins"
        yield Finding("versions", "fusionkit", f"{__version__}, not installed", "broken", advice)
        return
    yield Finding("versions", "fusionkit", __version__)
    yield _python(own["Requires-Python"] or "")
    wanted = [Requirement(text) for text in requires("fusionkit") or ()]
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _needed(requirement)
    for extra in own.get_all("Provides-Extra") or ():
        if extra not in _NOT_FOR_USERS:
            yield _extra(extra, wanted)


def _python(bounds: str) -> Finding:
    found = platform.python_version()
    if SpecifierSet(bounds).contains(found, prereleases=True):
        return Finding("versions", "python", found)
    return Finding("versions", "python", found, "broken", f"fusionkit needs {bounds}")


def _needed(requirement: Requirement) -> Finding:
    found = _installed(requirement.name)
    if not found:
        return Finding("versions", requirement.name, "missing", "broken", f"pip install {_quoted(requirement)}")
    said = ", ".join(number if name == requirement.name else f"{number} ({name})" for name, number in found.items())
    if not all(requirement.specifier.contains(number, prereleases=True) for number in found.values()):
        advice = f"it is older than what was tried: pip install -U {_quoted(requirement)}"
        return Finding("versions", requirement.name, said, "warning", advice)
    if len(found) > 1:
        advice = f"they overwrite each other's files: pip uninstall {' '.join(found)}, then install one of them"
        return Finding("versions", requirement.name, said, "warning", advice)
    return Finding("versions", requirement.name, said)


def _extra(extra: str, wanted: list[Requirement]) -> Finding:
    """One line for an extra: what of it is there."""
    own = [
        requirement
        for requirement in wanted
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    there = {requirement.name: ", ".join(_installed(requirement.name).values()) for requirement in own}
    value = ", ".join(f"{name} {number}" if number else f"no {name}" for name, number in there.items())
    if all(there.values()):
        return Finding("versions", f"extra {extra}", value)
    return Finding("versions", f"extra {extra}", value, "absent", f"if you need it: pip install 'fusionkit[{extra}]'")


def _installed(name: str) -> dict[str, str]:
    """The version by distribution: of the one that is named, and of those that bring the same module."""
    found = {}
    for each in _OPENCV if name in _OPENCV else (name,):
        try:
            found[each] = version(each)
        except PackageNotFoundError:
            continue
    return found


def _quoted(requirement: Requirement) -> str:
    return f"'{requirement.name}{requirement.specifier}'"
