"""Provenance: with what a command is run, as ``grid.json`` keeps it. None of it decides the name of a piece of work."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from fusionkit._version import __version__
from fusionkit.engine.embed import shared_backbone
from fusionkit.grid.plan import Plan
from fusionkit.grid.run import RunOptions
from fusionkit.registry import REGISTRIES
from fusionkit.registry.options import defaults_filled
from fusionkit.registry.spec import Spec
from fusionkit.storage.record import Record

_NAME = re.compile(r"[\w.-]+")


def provenance(device: str) -> dict[str, Any]:
    """Versions, machine, device, command, state of the git checkout that the command is given in."""
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
    """:func:`provenance`, with every component's code and weights, and how the work is shared out."""
    found, components = provenance(options.device), list(_components(plan))
    return {
        **found,
        "versions": _versions(
            ["fusionkit", *_distributions(components), *(["ray"] if options.executor == "ray" else [])]
        ),
        "components": components,
        "precision": _precision(plan),
        "weights": list(_weights(plan)),
        "executor": options.executor,
        "workers": options.workers or "one a core",
    }


def _used(plan: Plan) -> Iterator[tuple[str, Spec, Record]]:
    """Kind, spec and record of every component that takes part; the same one may come several times."""
    for row in plan.rows:
        head = row.heads[0]
        yield "datasets", head.fold_data.source.spec, head.record["data"]
        for embedding in head.embeddings.values():
            if embedding.record["extractor"]:
                yield "extractors", embedding.extractor, embedding.record["extractor"]
            if embedding.backbone:
                yield "backbones", embedding.backbone, embedding.record["backbone"]
        yield "fusions", head.fusion, head.record["fusion"]
        yield "smoothers", row.smoother, row.record["smoother"]


def _components(plan: Plan) -> Iterator[Record]:
    seen: set[tuple[str, Spec]] = set()
    for kind, spec, record in _used(plan):
        if (kind, spec) not in seen:
            seen.add((kind, spec))
            yield {"kind": kind, **{name: value for name, value in record.items() if name != "files"}}


def _distributions(components: list[Record]) -> list[str]:
    """Those that bring a component."""
    return [name for component in components if (name := component["distribution"].rpartition(" ")[0])]


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Version by distribution: of these, and of those that they say they need; what is not installed is left out."""
    told = {name: _metadata(name) for name in names}
    needed = [match[0] for _, lines in told.values() for line in lines if (match := _NAME.match(line))]
    found = {name: _metadata(name)[0] for name in sorted({*told, *needed})}
    return {name: number for name, number in found.items() if number}


@cache
def _metadata(name: str) -> tuple[str, tuple[str, ...]]:
    """A distribution's version, empty where it is not installed, and what it needs without being asked for more."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return "", ()
    return told["Version"], tuple(line for line in told.get_all("Requires-Dist") or () if "extra ==" not in line)


def _precision(plan: Plan) -> dict[str, str]:
    """By backbone: in what it computes."""
    embeddings = [embedding for row in plan.rows for embedding in row.heads[0].embeddings.values()]
    return {str(item.backbone): item.record["precision"] for item in embeddings if item.backbone}


def _weights(plan: Plan) -> Iterator[dict[str, str]]:
    """Files of weights by name and the hash of their bytes, and published weights by the name of the publisher."""
    seen: set[tuple[str, Spec]] = set()
    for kind, spec, record in _used(plan):
        if (kind, spec) in seen:
            continue
        seen.add((kind, spec))
        given = defaults_filled(REGISTRIES[kind].get(spec.name), spec.options)
        for option in record["files"]:
            if given.get(option):
                file = Path(given[option]).name
                yield {"component": str(spec), "option": option, "file": file, "hash": record["options"][option]}
        published = shared_backbone(spec).weights() if kind == "backbones" else ""
        if published:
            yield {"component": str(spec), "published": published}


@cache
def cpu_model() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _gpu(device: str) -> dict[str, Any] | None:
    """The GPUs that torch sees, where one is used: models, CUDA version, driver."""
    if not device.startswith("cuda"):
        return None
    import torch

    return {
        "models": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "driver": _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).partition("\n")[0],
    }


def _git_state() -> str:
    """Of the checkout that the grid is run in; empty outside of one."""
    return _said(["git", "describe", "--always", "--dirty", "--abbrev=12"])


def _said(command: list[str]) -> str:
    """What a command prints; empty where it fails or is not there."""
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
