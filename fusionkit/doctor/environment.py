"""Checks of installed versions, of the machine and of the folders that are written to."""

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
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

State = Literal["ok", "absent", "warning", "broken"]

_UNLISTED_EXTRAS = ("all", "test", "docs", "dev")
# Distributions of the same module: two of them overwrite each other's files.
_ALTERNATIVES = (
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ("onnxruntime", "onnxruntime-gpu"),
)
_IMPORT_ADVICE = {
    "torch": "reinstall it: pip install --force-reinstall torch",
    "torchvision": "install torch and torchvision together, from one index: both for the CPU, or both for CUDA",
    "cv2": "if a shared library such as libGL is missing: pip uninstall opencv-python, "
    "then pip install opencv-python-headless",
}
_LOW_MEMORY = 4 * GIB
_LOW_DISK = 2 * 1000**3  # bytes


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        topic: ``versions``, ``machine``, ``folders``, ``plugins`` or ``weights``.
        name: name of the checked item.
        value: short description.
        state: ``absent``: optional and not installed; ``warning``: works with limits; ``broken``: does not work.
        advice: what to do; empty if nothing is needed.
    """

    topic: str
    name: str
    value: str
    state: State = "ok"
    advice: str = ""


def versions() -> Iterator[Finding]:
    """Check fusionkit, Python, every requirement and every optional extra."""
    try:
        own = metadata("fusionkit")
    except PackageNotFoundError:
        advice = "pip install -e . in the checkout; plugins are found only in an installed package"
        yield Finding("versions", "fusionkit", f"{__version__}, not installed", "broken", advice)
        return
    yield Finding("versions", "fusionkit", __version__)
    yield _python(own["Requires-Python"] or "")
    requirements = [Requirement(text) for text in requires("fusionkit") or ()]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _requirement(requirement)
    for extra in own.get_all("Provides-Extra") or ():
        if extra not in _UNLISTED_EXTRAS:
            yield _extra(extra, requirements)


def machine() -> Iterator[Finding]:
    """Check processor, cores and memory, import torch and OpenCV, name the build of torch, and list the devices."""
    yield Finding("machine", "processor", cpu_model())
    yield _cores()
    yield _memory()
    for module in ("cv2", "torch", "torchvision"):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything
            yield Finding("machine", f"import {module}", cause_of(error), "broken", _IMPORT_ADVICE[module])
    if "torch" in sys.modules:
        yield from _devices()


def folders() -> Iterator[Finding]:
    """Check that the cache and the default folder of runs are writable and have disk space."""
    root = cache_folder()
    entries = EmbeddingStore(root).entries() if root.is_dir() else []
    content = f"{len(entries)} embeddings, {decimal(sum(entry.size for entry in entries))}"
    yield _folder("cache", root, content, "set FUSIONKIT_CACHE to a folder with space; fusionkit cache --prune deletes")
    yield _folder("runs", Path("runs").absolute(), "default of --out", "run fusionkit in another folder, or pass --out")


def shortened(path: Path) -> str:
    """Return a path with ``~`` for the home folder: findings are pasted into bug reports."""
    try:
        return (Path("~") / path.relative_to(Path.home())).as_posix()
    except (ValueError, RuntimeError):
        return str(path)


def _python(bounds: str) -> Finding:
    found = platform.python_version()
    if SpecifierSet(bounds).contains(found, prereleases=True):
        return Finding("versions", "python", found)
    return Finding("versions", "python", found, "broken", f"fusionkit needs {bounds}")


def _requirement(requirement: Requirement) -> Finding:
    found = _installed(requirement.name)
    if not found:
        return Finding("versions", requirement.name, "missing", "broken", f"pip install {_quoted(requirement)}")
    value = ", ".join(number if name == requirement.name else f"{number} ({name})" for name, number in found.items())
    if not all(requirement.specifier.contains(number, prereleases=True) for number in found.values()):
        advice = f"older than the tested versions: pip install -U {_quoted(requirement)}"
        return Finding("versions", requirement.name, value, "warning", advice)
    if len(found) > 1:
        advice = f"they overwrite each other's files: pip uninstall {' '.join(found)}, then install one of them"
        return Finding("versions", requirement.name, value, "warning", advice)
    return Finding("versions", requirement.name, value)


def _extra(extra: str, requirements: list[Requirement]) -> Finding:
    own = [
        requirement
        for requirement in requirements
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    installed = {requirement.name: ", ".join(_installed(requirement.name).values()) for requirement in own}
    value = ", ".join(f"{name} {number}" if number else f"no {name}" for name, number in installed.items())
    if all(installed.values()):
        return Finding("versions", f"extra {extra}", value)
    return Finding("versions", f"extra {extra}", value, "absent", f"if you need it: pip install 'fusionkit[{extra}]'")


def _installed(name: str) -> dict[str, str]:
    """Return the version by distribution: of the named one, and of others with the same module."""
    found = {}
    for each in next((group for group in _ALTERNATIVES if name in group), (name,)):
        try:
            found[each] = version(each)
        except PackageNotFoundError:
            continue
    return found


def _quoted(requirement: Requirement) -> str:
    return f"'{requirement.name}{requirement.specifier}'"


def _cores() -> Finding:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    if usable < total:
        value = f"{usable} of {total} may be used"
        return Finding("machine", "cores", value, "warning", f"fusionkit bench --workers {usable}")
    return Finding("machine", "cores", f"{total}: default number of workers, one thread each")


def _memory() -> Finding:
    free = available_memory()
    value = f"{free / GIB:.1f} GiB available"
    if free < _LOW_MEMORY:
        return Finding("machine", "memory", value, "warning", "use fewer --workers, or a smaller backbone")
    return Finding("machine", "memory", value)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("machine", "torch build", _build())
    yield Finding("machine", "device cpu", f"float32{_bfloat16('cpu')}")
    if torch.backends.mps.is_built():
        yield _mps()
    count = torch.cuda.device_count()
    for index in range(count):
        gpu = torch.cuda.get_device_properties(index)
        value = f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB, float32{_bfloat16(f'cuda:{index}')}"
        yield Finding("machine", f"device cuda:{index}", value)
    if count:
        return
    if torch.version.cuda is None:
        return
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    advice = (
        "CUDA_VISIBLE_DEVICES is empty and hides every GPU"
        if hidden
        else "check that nvidia-smi lists a GPU; without one, a CPU build of torch is smaller by gigabytes"
    )
    yield Finding("machine", "device cuda", f"torch (CUDA {torch.version.cuda}) finds no GPU", "absent", advice)


def _build() -> str:
    """Return what the installed torch is built for, from its version file."""
    import torch

    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return "CPU and MPS" if torch.backends.mps.is_built() else "CPU"


def _mps() -> Finding:
    import torch

    if torch.backends.mps.is_available():
        return Finding("machine", "device mps", "float32; only with --device mps")
    return Finding(
        "machine", "device mps", "torch finds no Apple GPU", "absent", "it needs macOS on an Apple processor"
    )


def _bfloat16(device: str) -> str:
    """Return what ``precision=auto`` chooses on a device."""
    return ", bfloat16" if has_native_bfloat16(device) else "; bfloat16 would be emulated, so auto selects float32"


def _folder(name: str, folder: Path, content: str, advice: str) -> Finding:
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    shown = shortened(folder)
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(b"0")
    except OSError as error:
        return Finding("folders", name, f"{shown}: cannot be written: {cause_of(error)}", "broken", advice)
    free = shutil.disk_usage(parent).free
    value = f"{shown}: {content}, {decimal(free)} free"
    return Finding("folders", name, value, "warning", advice) if free < _LOW_DISK else Finding("folders", name, value)
