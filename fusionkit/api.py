"""The Python calls: what the commands do, for scripts and notebooks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionkit.config.config_file import find_config, read_config
from fusionkit.config.grid_config import GridConfig, resolve
from fusionkit.engine.perturb import PATTERNS, Pattern
from fusionkit.engine.source import open_source
from fusionkit.errors import CellError, ConfigError
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.merge import Merged, merge_folders
from fusionkit.grid.plan import Plan, check_fusions, make_plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.provenance import grid_provenance
from fusionkit.grid.run import Outcome, RunOptions, cluster, run
from fusionkit.grid.tasks import Code
from fusionkit.predict.ablation import AblationOptions, ablate_rows
from fusionkit.predict.predictor import Predictor
from fusionkit.predict.robustness import robust_rows
from fusionkit.predict.stored_cell import open_cell
from fusionkit.predict.submission import (
    SubmissionResult,
    all_test_frames,
    answer,
    check_place,
    class_order,
    read_template,
    with_test_clips,
    write_per_video,
    write_rows,
)
from fusionkit.registry.plugin_file import load_plugin_file
from fusionkit.registry.spec import Spec
from fusionkit.report.ablation import Ablation, write_ablations
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.page.write import report_or_line
from fusionkit.report.robustness import Robustness, write_robustness
from fusionkit.report.run import Results
from fusionkit.report.tested_data import TestedData
from fusionkit.storage.embeddings import EmbeddingStore, cache_folder

DEFAULT_CONFIG = "bench/quickstart"


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
    raw = {**read_config(path, settings, "bench"), **(overrides or {})}
    grid = resolve(raw, path.stem)
    chosen = choose_device(device)
    plan = make_plan(grid, chosen)
    check_fusions(plan)
    folder = RunFolder(Path(out) if out is not None else default_folder(grid))
    return Prepared(plan, folder, EmbeddingStore(cache_folder()), replace(options or RunOptions(), device=chosen))


def execute(prepared: Prepared, progress: Progress | None = None) -> tuple[Outcome, Results]:
    """Run what was prepared, and write the CSV files and the page.

    Raises:
        ConfigError: if the folder holds results of another protocol, or cannot be written.
        CellError: at the first failure, with ``fail_fast``.
    """
    _reach_cluster(prepared)
    prepared.folder.merge(prepared.plan, grid_provenance(prepared.plan, prepared.options))
    outcome = run(prepared.plan, prepared.folder, prepared.store, prepared.options, progress or Progress())
    results = Results(prepared.folder)
    write_csv_files(results)
    outcome.notes += report_or_line(results, TestedData.of(prepared.plan))
    return outcome, results


def _reach_cluster(prepared: Prepared) -> None:
    """Refuse a cluster that is not there before anything is written."""
    if prepared.options.executor != "ray":
        return
    from fusionkit.grid.ray_executor import ray_module

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


def merge(others: Iterable[str | Path], out: str | Path) -> tuple[Merged, Results]:
    """Make a run folder the union of itself and others on the same data and split, and write its CSV files anew.

    Rows whose smoother or recipe was chosen over fewer seeds than there are now have no score until a grid with them
    is run in the folder, which trains nothing for it.

    Args:
        others: run folders, which stay as they are.
        out: the folder; a new one is made.

    Raises:
        ConfigError: if one of them holds results of another protocol; nothing is changed then.
        DataError: if one of them holds no grid; nothing is changed then.
        StorageError: if the folder cannot be written; the same call goes on from there.
    """
    folder = RunFolder(Path(out))
    merged = merge_folders(folder, [RunFolder(Path(other)) for other in others])
    results = Results(folder)
    write_csv_files(results)
    for line in report_or_line(results, None):
        warnings.warn(line, stacklevel=2)
    return merged, results


def load(
    folder: str | Path,
    cell: str,
    *,
    device: str = "auto",
    impute: str | None = None,
    plugins: Iterable[str] = (),
) -> Predictor:
    """A trained cell, to be applied to new frames; the run's folder is enough, with the weights of its backbones.

    Args:
        folder: of the run.
        cell: a short id, or a name ``views/fusion/smoother[/seed]``, or a part of it that fits one row only. Without a
            seed, the probabilities of all seeds (and folds) of the row are averaged.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        impute: what frames without any view are given: ``nearest``, ``linear`` or ``prior``; None: as in the run.
        plugins: Python files that register components.

    Raises:
        ConfigError: if the text stands for nothing or for several, or a weights file is missing.
        DataError: if no cell of it is finished, or a weights file is another one than it was.
        PluginError: if a component is not known any more, or does not take back what is stored of it.
    """
    predictor = open_predictor(folder, cell, device=device, impute=impute, plugins=plugins)
    for note in predictor.notes:
        warnings.warn(note, stacklevel=2)
    return predictor


def open_predictor(
    folder: str | Path,
    cell: str,
    *,
    device: str = "auto",
    impute: str | None = None,
    plugins: Iterable[str] = (),
) -> Predictor:
    """As :func:`load`, for callers that show the predictor's notes themselves."""
    for path in plugins:
        load_plugin_file(path)
    return open_cell(RunFolder(Path(folder)), cell, choose_device(device), impute)


def submit(
    predictor: Predictor,
    out: str | Path,
    *,
    template: str | Path | None = None,
    dataset: str | Spec | None = None,
    per_video: bool = False,
    progress: Progress | None = None,
) -> SubmissionResult:
    """Write the predictions of a challenge's test set.

    Args:
        predictor: of the cell.
        out: a file with the rows of the template; with ``per_video`` a folder, new or empty, with a file a clip.
        template: the challenge's example file; only with ``per_video`` there may be none, and a clip ends with the
            last frame that the data set has of it.
        dataset: that has the frames; None: the one that the cell was trained on, with its test clips.
        per_video: as editions before the sixth want it.
        progress: told of the frames.

    Raises:
        ConfigError: if the request is wrong, the cell's classes are not the template's, or ``out`` is taken.
        DataError: if the template is none, or frames are missing.
        StorageError: if the files cannot be written.
        FusionKitError: if a component fails.
    """
    asked = read_template(Path(template)) if template is not None else None
    if asked is None and not per_video:
        raise ConfigError("a submission in one file needs a template")
    check_place(Path(out), asked, per_video=per_video)
    classes = asked.classes if asked else predictor.classes
    class_order(predictor.classes, classes)  # refused before the data are looked at
    spec = with_test_clips(predictor.dataset) if dataset is None else Spec.of(dataset)
    source = open_source(spec, None)
    wanted = asked.frames_of(whole=per_video) if asked else all_test_frames(source)
    found = answer(predictor, classes, wanted, source, progress or Progress())
    if per_video or asked is None:
        write_per_video(classes, found.predicted, Path(out))
    else:
        write_rows(asked, found.predicted, Path(out))
    return found


def ablate(
    folder: str | Path,
    cells: Iterable[str] = (),
    *,
    options: AblationOptions | None = None,
    device: str = "auto",
    plugins: Iterable[str] = (),
    progress: Progress | None = None,
) -> list[Ablation]:
    """What trained rows lose when a view is shuffled, blank or missing at test time; written to ``attribution.csv``.

    Nothing is trained anew. The file holds what the last call was asked for.

    Args:
        folder: of the run.
        cells: rows or cells, as for :func:`load`; all finished rows with an auxiliary view where empty.
        options: how they are tested; the device is replaced by the one below.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        plugins: Python files that register components.
        progress: told of conditions, and of frames that have to be embedded anew.

    Raises:
        ConfigError: if a text stands for nothing or for several, or a row has too many views.
        DataError: if a row is not finished, or its data are missing or have changed.
        StorageError: if the file cannot be written.
        FusionKitError: if a component fails.
    """
    results, how = _to_ablate(folder, options, device, plugins)
    found = ablate_rows(results, list(cells), how, progress or Progress())
    write_ablations(results.folder.path, found)
    return found


def robust(
    folder: str | Path,
    cells: Iterable[str] = (),
    *,
    pattern: Pattern = "frame",
    options: AblationOptions | None = None,
    device: str = "auto",
    plugins: Iterable[str] = (),
    progress: Progress | None = None,
) -> list[Robustness]:
    """What trained rows score while auxiliary views are missing at test time; written to ``robustness.csv``.

    Args:
        folder: of the run.
        cells: as for :func:`ablate`.
        pattern: which frames lose a view together: ``frame``, ``run`` or ``unit``.
        options: as for :func:`ablate`.
        device: as for :func:`ablate`.
        plugins: Python files that register components.
        progress: as for :func:`ablate`.

    Raises:
        ConfigError: as for :func:`ablate`, or if a row that is named has no auxiliary view.
        FusionKitError: as for :func:`ablate`.
    """
    if pattern not in PATTERNS:
        raise ConfigError(f"pattern: {pattern!r} is none of {', '.join(PATTERNS)}")
    results, how = _to_ablate(folder, options, device, plugins)
    found = robust_rows(results, list(cells), how, pattern, progress or Progress())
    write_robustness(results.folder.path, found)
    return found


def _to_ablate(
    folder: str | Path, options: AblationOptions | None, device: str, plugins: Iterable[str]
) -> tuple[Results, AblationOptions]:
    for path in plugins:
        load_plugin_file(path)
    return Results(Path(folder)), replace(options or AblationOptions(), device=choose_device(device))


def default_folder(grid: GridConfig) -> Path:
    """``runs/<config name>-<hash8>``."""
    return Path("runs") / f"{grid.name}-{grid.digest()[:8]}"


def choose_device(device: str) -> str:
    """``auto`` to the first CUDA device where there is one, else the CPU; ``cuda`` stands for all that are visible.

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
    return device
