"""One thing that was looked at."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.filesize import decimal

from fusionkit._version import __version__
from fusionkit.contracts.backbone import has_native_bfloat16
from fusionkit.errors import cause_of
from fusionkit.grid.memory import GIB, available_memory
from fusionkit.grid.provenance import cpu_model
from fusionkit.storage.embeddings import EmbeddingStore, cache_folder

State = Literal["ok", "absent", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        topic: what it belongs to: ``versions``, ``machine``, ``folders``, ``plugins`` or ``weights``.
        name: of the thing.
        value: what it is, in a few words.
        state: ``absent`` is what works without, ``warning`` what works worse than it could, ``broken`` what does not.
        advice: what to do about it; empty where there is nothing to do.
    """

    topic: str
    name: str
    value: str
    state: State = "ok"
    advice: str = ""


_LITTLE = 2 * 1000**3  # bytes


def places() -> Iterator[Finding]:
    """The cache with what it holds, and where runs go by default."""
    root = cache_folder()
    entries = EmbeddingStore(root).entries() if root.is_dir() else []
    held = f"{len(entries)} embeddings, {decimal(sum(entry.size for entry in entries))}"
    yield _place("cache", root, held, "set FUSIONKIT_CACHE to a folder with room; fusionkit cache --prune deletes")
    yield _place("runs", Path("runs").absolute(), "default of --out", "call fusionkit elsewhere, or give --out")


def _place(name: str, folder: Path, about: str, advice: str) -> Finding:
    """Whether it can be written, tried with a file without a name, and how much room there is."""
    above = next(place for place in (folder, *folder.parents) if place.exists())
    shown = short(folder)
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"0")
    except OSError as error:
        return Finding("folders", name, f"{shown}: cannot be written: {cause_of(error)}", "broken", advice)
    free = shutil.disk_usage(above).free
    value = f"{shown}: {about}, {decimal(free)} free"
    return Finding("folders", name, value, "warning", advice) if free < _LITTLE else Finding("folders", name, value)


def short(path: Path) -> str:
    """A path without the name of whoever is at home: findings are pasted into bug reports."""
    try:
        return (Path("~") / path.relative_to(Path.home())).as_posix()
    except (ValueError, RuntimeError):
        return str(path)


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


_LITTLE_MEMORY = 4 * GIB
_ADVICE = {
    "torch": "install it anew: pip install --force-reinstall torch",
    "cv2": "where a shared library such as libGL is named: pip uninstall opencv-python, "
    "then pip install opencv-python-headless",
}


def machine() -> Iterator[Finding]:
    """Processor, cores, memory; torch and OpenCV imported; each device with what it computes in."""
    yield Finding("machine", "processor", cpu_model())
    yield _cores()
    yield _memory()
    for module in ("cv2", "torch"):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a library that is broken may raise anything
            yield Finding("machine", f"import {module}", cause_of(error), "broken", _ADVICE[module])
    if "torch" in sys.modules:
        yield from _devices()


def _cores() -> Finding:
    there = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    if usable < there:
        value = f"{usable} of {there} may be used"
        return Finding("machine", "cores", value, "warning", f"fusionkit bench --workers {usable}")
    return Finding("machine", "cores", f"{there}: as many workers, one thread each")


def _memory() -> Finding:
    free = available_memory()
    if free is None:
        return Finding("machine", "memory", "unknown: the system does not tell")
    value = f"{free / GIB:.1f} GiB available"
    if free < _LITTLE_MEMORY:
        return Finding("machine", "memory", value, "warning", "fewer --workers, or a smaller backbone")
    return Finding("machine", "memory", value)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("machine", "device cpu", f"float32{_bfloat16('cpu')}")
    count = torch.cuda.device_count()
    for index in range(count):
        about = torch.cuda.get_device_properties(index)
        value = f"{about.name}, {about.total_memory / GIB:.0f} GiB, float32{_bfloat16(f'cuda:{index}')}"
        yield Finding("machine", f"device cuda:{index}", value)
    if count:
        return
    if torch.version.cuda is None:
        yield Finding("machine", "device cuda", "this torch is built without CUDA", "absent")
        return
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    advice = "CUDA_VISIBLE_DEVICES hides them" if hidden == "" else "if there should be one: does nvidia-smi list it?"
    yield Finding("machine", "device cuda", f"torch (CUDA {torch.version.cuda}) sees no GPU", "absent", advice)


def _bfloat16(device: str) -> str:
    """What ``precision=auto`` makes of it."""
    return ", bfloat16" if has_native_bfloat16(device) else "; bfloat16 would be emulated, so float32 is taken"
