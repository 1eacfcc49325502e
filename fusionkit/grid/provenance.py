"""Provenance of a command, stored in ``grid.json``: versions, machine, code, weights. No id depends on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from fusionkit._version import __version__
from fusionkit.contracts.backbone import Backbone
from fusionkit.engine.embed import backbone_fact
from fusionkit.grid.plan import Plan
from fusionkit.grid.run import RunOptions
from fusionkit.registry import REGISTRIES
from fusionkit.registry.options import defaults_filled
from fusionkit.registry.spec import Spec
from fusionkit.storage.record import Record

_NAME = re.compile(r"[\w.-]+")


def provenance(device: str) -> dict[str, Any]:
    """Return versions, machine, device, command, and state of the git checkout of the working folder."""
    return {
        "fusionkit": __version__,
        "python": platform.python_version(),
        "versions": _versions(["fusionkit"]),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "gpu": _gpu(device),
        "device": device,
        "threads": 1,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": _git_state(),
    }


def grid_provenance(plan: Plan, options: RunOptions) -> dict[str, Any]:
    """Return :func:`provenance` with code and weights of every component, executor and workers."""
    used = plan.components
    components = [
        {"kind": kind, **{name: value for name, value in record.items() if name != "files"}}
        for (kind, _), record in used.items()
    ]
    distributions = [name for each in components if (name := each["distribution"].rpartition(" ")[0])]
    extra = ["ray"] if options.executor == "ray" else []
    return {
        **provenance(options.device),
        "versions": _versions(["fusionkit", *distributions, *extra]),
        "components": components,
        "precision": _precision(plan),
        "weights": list(_weights(used)),
        "preparation": [backbone_fact(spec, partial(_preparation, spec)) for kind, spec in used if kind == "backbones"],
        "executor": options.executor,
        "workers": options.workers or "one per core",
    }


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Version by name of these distributions and their requirements, without those that are not installed."""
    found = {name: _metadata(name) for name in names}
    required = [match[0] for _, lines in found.values() for line in lines if (match := _NAME.match(line))]
    versions = {name: _metadata(name)[0] for name in sorted({*found, *required})}
    return {name: version for name, version in versions.items() if version}


@cache
def _metadata(name: str) -> tuple[str, tuple[str, ...]]:
    """Version of a distribution, empty if it is not installed, and its requirements without extras."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return "", ()
    return found["Version"], tuple(line for line in found.get_all("Requires-Dist") or () if "extra ==" not in line)


def _precision(plan: Plan) -> dict[str, str]:
    """Precision by backbone."""
    embeddings = [embedding for row in plan.rows for embedding in row.heads[0].embeddings.values()]
    return {str(item.backbone): item.record["precision"] for item in embeddings if item.backbone}


def _weights(used: dict[tuple[str, Spec], Record]) -> Iterator[dict[str, str]]:
    """Weights files with the hash of their bytes, and published weights with the publisher's name."""
    for (kind, spec), record in used.items():
        options = defaults_filled(REGISTRIES[kind].get(spec.name), spec.options)
        for option in record["files"]:
            if options.get(option):
                file = Path(options[option]).name
                yield {"component": str(spec), "option": option, "file": file, "hash": record["options"][option]}
        published = backbone_fact(spec, lambda backbone: backbone.weights()) if kind == "backbones" else ""
        if published:
            yield {"component": str(spec), "published": published}


def _preparation(spec: Spec, backbone: Backbone) -> dict[str, Any]:
    """Resolved preparation of a backbone's views, whether its weights are random, and notes on their loading."""
    return {
        "component": str(spec),
        "size": list(backbone.input_size),
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "interpolation": backbone.interpolation,
        "random_weights": backbone.random_weights,
        "notes": list(backbone.notes()),
    }


@cache
def cpu_model() -> str:
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _gpu(device: str) -> dict[str, Any] | None:
    """Models, CUDA version and driver of the GPUs that torch sees; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return {
        "models": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "driver": _output_of(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).partition("\n")[0],
    }


def _git_state() -> str:
    """State of the git checkout of the working folder; empty outside of one."""
    return _output_of(["git", "describe", "--always", "--dirty", "--abbrev=12"])


def _output_of(command: list[str]) -> str:
    """Output of a command; empty if it fails or is not installed."""
    try:
        found = subprocess.run(  # noqa: S603
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
