"""The Python calls: what the commands do, for scripts and notebooks."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fusionkit import __version__
from fusionkit.config import GridConfig, resolve
from fusionkit.config_file import find_config, read_config
from fusionkit.engine.embeddings import EmbeddingStore, cache_folder
from fusionkit.errors import CellError, ConfigError
from fusionkit.grid.check import check_fusions
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan, make_plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.run import Outcome, RunOptions, cluster, run
from fusionkit.grid.tasks import Code
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.results import Results

DEFAULT_CONFIG = "bench/quickstart"
_PROVENANCE = ("torch", "timm", "numpy", "opencv-python", "scikit-learn", "mmengine")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A checked request, ready to run; nothing has been written yet."""

    plan: Plan
    folder: RunFolder
    store: EmbeddingStore
    options: RunOptions


def prepare(
    config: str | None = None,
    *,
    overrides: dict[str, Any] | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    options: RunOptions | None = None,
) -> Prepared:
    """Check a request and plan its work.

    Args:
        config: a file, or the name of a shipped config; the quickstart where None.
        overrides: config keys that go before those of the file.
        settings: ``key=value`` with dotted keys, applied to the file's values.
        out: the run's folder; ``runs/<config name>-<hash8>`` where None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        options: how it is carried out; its device is replaced by the one above.

    Raises:
        ConfigError: if anything about the request is wrong, everything at once.
        DataError: if the data are missing or cannot serve.
    """
    path = find_config(config or DEFAULT_CONFIG)
    raw = {**read_config(path, settings), **(overrides or {})}
    grid = resolve(raw, path.stem)
    chosen = choose_device(device)
    plan = make_plan(grid, chosen)
    check_fusions(plan)
    folder = RunFolder(Path(out) if out is not None else default_folder(grid))
    return Prepared(plan, folder, EmbeddingStore(cache_folder()), replace(options or RunOptions(), device=chosen))


def execute(prepared: Prepared, progress: Progress | None = None) -> tuple[Outcome, Results]:
    """Run what was prepared, and write the CSV files.

    Raises:
        ConfigError: if the folder holds results of another protocol, or cannot be written.
        CellError: at the first failure, with ``fail_fast``.
    """
    _reach_cluster(prepared)
    prepared.folder.merge(prepared.plan, provenance(prepared.options.device))
    outcome = run(prepared.plan, prepared.folder, prepared.store, prepared.options, progress or Progress())
    results = Results(prepared.folder)
    write_csv_files(results)
    return outcome, results


def _reach_cluster(prepared: Prepared) -> None:
    """Refuse a cluster that is not there before anything is written."""
    if prepared.options.executor != "ray":
        return
    from fusionkit.grid.ray_cluster import ray_module

    ray_module()
    if prepared.options.ray_address is not None:
        executor = cluster(prepared.options, Code(prepared.plan.grid.plugins, prepared.plan.grid.modules))
        assert executor is not None
        executor.connect()
        executor.close()


def bench(
    config: str | None = None,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    options: RunOptions | None = None,
    **keys: Any,
) -> Results:
    """Run a grid and return its results.

    Args:
        config: a file, or the name of a shipped config; the quickstart where None.
        out: the run's folder; ``runs/<config name>-<hash8>`` where None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        options: how it is carried out (executor, workers, ...).
        keys: config keys (``regions``, ``fusions``, ``datasets``, ...) that go before those of the file.

    Raises:
        ConfigError: if anything about the request is wrong, everything at once.
        DataError: if the data are missing or cannot serve.
        CellError: if no cell at all could be made.
    """
    outcome, results = execute(prepare(config, overrides=keys, out=out, device=device, options=options))
    if outcome.failed and not any(row.score for row in results.rows):
        name, message = next(iter(outcome.failed.items()))
        raise CellError(f"every cell failed, {name} for one: {message}")
    return results


def default_folder(grid: GridConfig) -> Path:
    """``runs/<config name>-<hash8>``."""
    return Path("runs") / f"{grid.name}-{grid.digest()[:8]}"


def choose_device(device: str) -> str:
    """``auto`` to the first CUDA device where there is one, else the CPU.

    Raises:
        ConfigError: if the device is unknown or not there.
    """
    import torch

    there = torch.cuda.is_available()
    if device == "auto":
        return "cuda:0" if there else "cpu"
    if device == "cpu":
        return device
    kind, _, index = device.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise ConfigError(f"unknown device {device!r}", hint="auto, cpu, cuda or cuda:N")
    if not there or int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA device(s)")
    return f"cuda:{index or 0}"


def provenance(device: str) -> dict[str, Any]:
    """With what a grid was run: versions, machine, device, command, state of the git checkout it was run in."""
    versions = {}
    for name in _PROVENANCE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return {
        "fusionkit": __version__,
        "python": platform.python_version(),
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": 1,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": _git_state(),
    }


def _git_state() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
