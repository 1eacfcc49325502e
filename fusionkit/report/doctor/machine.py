"""What computes: processor, memory, graphics cards, and whether the libraries that use them can be imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator

from fusionkit.contracts.precision import has_native_bfloat16
from fusionkit.errors import cause_of
from fusionkit.grid.memory import GIB, available_memory
from fusionkit.grid.provenance import cpu_model
from fusionkit.report.doctor.finding import Finding

_LITTLE = 4 * GIB
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
    if free < _LITTLE:
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
