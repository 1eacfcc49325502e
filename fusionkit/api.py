"""The Python interface: one call for each command, for scripts and notebooks.

Importing this module loads no heavy library. Each call imports what it needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.errors import CellError, ConfigError, FusionKitWarning, first_of, watched_interrupts
from fusionkit.grid.progress import Progress

if TYPE_CHECKING:
    from fusionkit.config.grid_config import GridConfig
    from fusionkit.data.arrays import from_arrays
    from fusionkit.data.check import DataCheck
    from fusionkit.data.layouts import Form
    from fusionkit.data.views import WrittenViews
    from fusionkit.doctor.environment import Finding
    from fusionkit.engine.perturb import Pattern
    from fusionkit.grid.contrasts import Test
    from fusionkit.grid.folder import RunFolder
    from fusionkit.grid.merge import Merged
    from fusionkit.grid.plan import Plan
    from fusionkit.grid.run import ExecutorName, Outcome, RunOptions
    from fusionkit.media.align import AlignOutcome
    from fusionkit.media.inputs import MediaInput
    from fusionkit.predict.demo.page import DemoPage
    from fusionkit.predict.export.write import ExportedCell
    from fusionkit.predict.predictor import Predictor
    from fusionkit.predict.submission import SubmissionResult
    from fusionkit.predict.video.result import VideoResult
    from fusionkit.predict.video.run import VideoRun
    from fusionkit.registry import Origin
    from fusionkit.registry.options import Option
    from fusionkit.registry.spec import Spec
    from fusionkit.report.ablation import Ablation
    from fusionkit.report.comparison import Comparison
    from fusionkit.report.robustness import Robustness
    from fusionkit.report.run import Results
    from fusionkit.report.summary import Summary
    from fusionkit.storage.embeddings import CacheEntry, EmbeddingStore
    from fusionkit.testing import CheckResult
    from fusionkit.testing.catalogue import Documented, Entry
    from fusionkit.training.evaluation import EpochScore
    from fusionkit.training.finetune import Finetuned
    from fusionkit.training.finetune_config import FinetuneConfig, FinetuneRecipe
    from fusionkit.training.pretrain import Pretrained
    from fusionkit.training.pretrain_config import PretrainConfig
    from fusionkit.training.progress import TrainingProgress

__all__ = [
    "DEFAULT_CONFIG",
    "Ablation",
    "AlignOutcome",
    "AlignProgress",
    "CacheEntry",
    "CheckResult",
    "Comparison",
    "DataCheck",
    "DemoPage",
    "Documented",
    "Entry",
    "EpochScore",
    "ExportedCell",
    "Finding",
    "FinetuneRecipe",
    "Finetuned",
    "MediaInput",
    "Merged",
    "Option",
    "Origin",
    "Outcome",
    "Predictor",
    "Prepared",
    "Pretrained",
    "Progress",
    "Results",
    "Robustness",
    "SubmissionResult",
    "Summary",
    "TrainingProgress",
    "VideoPredictions",
    "VideoResult",
    "VideoRun",
    "WrittenReport",
    "WrittenViews",
    "ablate",
    "align",
    "alignment_warning",
    "bench",
    "cache_entries",
    "cache_folder",
    "catalogue",
    "check_components",
    "check_data",
    "check_submission",
    "choose_device",
    "compare",
    "component_kinds",
    "component_names",
    "component_options",
    "default_folder",
    "describe",
    "describe_sections",
    "doctor",
    "execute",
    "export",
    "failed_checks",
    "finetune",
    "from_arrays",
    "is_main_process",
    "list_components",
    "load",
    "markdown_catalogue",
    "merge",
    "new_package",
    "open_predictor",
    "option_values",
    "plan_lines",
    "predict",
    "prediction_lines",
    "prepare",
    "pretrain",
    "preview",
    "prune_cache",
    "report",
    "robust",
    "row_names",
    "shipped_configs",
    "submission_warning",
    "submit",
    "summarize",
    "synthesize",
    "write_composites",
    "write_views",
]

# Names that are imported when they are first used.
_LAZY = {
    "Ablation": "report.ablation",
    "AlignOutcome": "media.align",
    "CacheEntry": "storage.embeddings",
    "CheckResult": "testing",
    "Comparison": "report.comparison",
    "DataCheck": "data.check",
    "Documented": "testing.catalogue",
    "Entry": "testing.catalogue",
    "EpochScore": "training.evaluation",
    "ExportedCell": "predict.export.write",
    "Finding": "doctor.environment",
    "FinetuneRecipe": "training.finetune_config",
    "Finetuned": "training.finetune",
    "MediaInput": "media.inputs",
    "Merged": "grid.merge",
    "Option": "registry.options",
    "Origin": "registry",
    "Outcome": "grid.run",
    "Predictor": "predict.predictor",
    "Pretrained": "training.pretrain",
    "Results": "report.run",
    "Robustness": "report.robustness",
    "SubmissionResult": "predict.submission",
    "Summary": "report.summary",
    "TrainingProgress": "training.progress",
    "DemoPage": "predict.demo.page",
    "VideoResult": "predict.video.result",
    "VideoRun": "predict.video.run",
    "WrittenViews": "data.views",
    "from_arrays": "data.arrays",
}

DEFAULT_CONFIG = "bench/quickstart"
ReportForm = Literal["html", "latex", "latex-classes", "markdown", "csv", "json"]
People = Literal["all", "largest", "central", "left", "right"]
_DAY = 86_400.0  # s


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"fusionkit.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


# -- grids -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Prepared:
    """A checked request with its plan; nothing has been written yet."""

    plan: Plan
    folder: RunFolder
    store: EmbeddingStore
    options: RunOptions


def bench(
    config: str | Path | None = None,
    *,
    datasets: Any = None,
    task: Any = None,
    labels: Literal["frame", "clip"] | None = None,
    split: Any = None,
    extractor: Any = None,
    backbones: Any = None,
    main: str | None = None,
    regions: Any = None,
    subsets: Any = None,
    fusions: Any = None,
    smoothers: Any = None,
    recipe: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    reference: str | None = None,
    limit: int | None = None,
    impute: Literal["nearest", "linear", "prior"] | None = None,
    plugins: Sequence[str | Path] | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    executor: ExecutorName = "serial",
    workers: int = 0,
    ray_address: str | None = None,
    cell_timeout: float | None = None,
    worker_memory: float | None = None,
    memory: float = 0.0,
    fail_fast: bool = False,
    retry_failed: bool = False,
) -> Results:
    """Run a benchmark grid and return its results.

    An argument that is None has the value of the config. A component is written ``name:key=value,...`` or
    ``{"type": name, key: value}``; a list of components or views makes several rows.
    Limits of the results (``results.warnings``) and failed cells are emitted as :class:`FusionKitWarning`.

    Args:
        config: config file, or name of a shipped config. Default: ``bench/quickstart``.
        datasets: one or several data sets, as :func:`from_arrays` returns one.
        task: what is predicted: ``expression``, ``votes``, ``action-units`` or ``valence-arousal``; tasks with a comma
            are learned together, and a list compares them.
        labels: what has one label, one prediction and one score: ``frame`` or ``clip``.
        split: ``official``, ``holdout:...``, ``kfold:...`` or ``cross:...``.
        extractor: one or several region extractors.
        backbones: one or several backbones; a dict from views to backbones gives each view its own.
        main: main view, as ``face``; ``none`` for none.
        regions: one or several sets of auxiliary views, as ``["eye,mouth", "nose"]``.
        subsets: views of which every subset becomes a region set; it replaces the region sets of the config.
        fusions: one or several fusions.
        smoothers: one or several temporal smoothers.
        recipe: training recipe of heads: options by name; a list of values is a sweep.
        seeds: number of random seeds, or a list of seeds.
        reference: baseline row of ``delta``: ``main``, ``none`` or a region set.
        limit: maximum number of frames per split.
        impute: prediction of frames without any view.
        plugins: Python files that register components.
        out: run folder. Default: ``runs/<config name>-<hash8>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        executor: ``serial`` (this process), ``processes`` (a process pool) or ``ray``.
        workers: maximum number of processes; 0 for one per core.
        ray_address: of a running Ray cluster; None starts Ray on this machine.
        cell_timeout: seconds per task; None for no limit.
        worker_memory: GiB per worker beyond its libraries; 0 for no limit, None for its share of the available memory.
        memory: GiB of features that a worker holds; 0 for a quarter of the available memory, divided by the workers.
        fail_fast: stop at the first failure.
        retry_failed: retry what failed in an earlier run.

    Raises:
        ConfigError: if the request is wrong; all problems at once.
        DataError: if the data are missing or unusable.
        CellError: if every cell failed.

    Example:
        >>> results = fusionkit.bench(
        ...     datasets="synthetic:train=8,val=6,test=6,clips=4,clip_length=8",
        ...     regions="eye,mouth",
        ...     fusions="mlp",
        ...     smoothers="none",
        ...     recipe={"epochs": 1},
        ...     seeds=2,
        ...     out="runs/first",
        ... )
        >>> [row.name for row in results.rows]
        ['face/linear/none', 'face,eye,mouth/mlp/none']
    """
    keys = {
        "datasets": datasets,
        "task": task,
        "labels": labels,
        "split": split,
        "extractor": extractor,
        "backbones": backbones,
        "main": main,
        "regions": [] if subsets is not None and regions is None else regions,
        "subsets": subsets,
        "fusions": fusions,
        "smoothers": smoothers,
        "recipe": recipe,
        "seeds": seeds,
        "reference": reference,
        "limit": limit,
        "impute": impute,
        "plugins": None if plugins is None else [str(path) for path in _listed(plugins)],
    }
    prepared = prepare(
        config,
        overrides={key: value for key, value in keys.items() if value is not None},
        out=out,
        device=device,
        executor=executor,
        workers=workers,
        ray_address=ray_address,
        cell_timeout=cell_timeout,
        worker_memory=worker_memory,
        memory=memory,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
    )
    outcome, results = execute(prepared)
    _warn(results.warnings, outcome.notes, (f"without an image: {line}" for line in outcome.unreadable))
    if outcome.failed and not any(row.score for row in results.rows):
        name, message = next(iter(outcome.failed.items()))
        raise CellError(f"every cell failed; the first is {name}: {message}")
    _warn(f"failed: {name}: {message}" for name, message in outcome.failed.items())
    return results


@watched_interrupts()
def prepare(
    config: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    executor: ExecutorName = "serial",
    workers: int = 0,
    ray_address: str | None = None,
    cell_timeout: float | None = None,
    worker_memory: float | None = None,
    memory: float = 0.0,
    fail_fast: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Check a request for a grid and plan its work. Nothing is written.

    The arguments that are not described here are those of :func:`bench`.

    Args:
        config: config file, or name of a shipped config. Default: ``bench/quickstart``.
        overrides: config keys that override those of the file.
        settings: ``key=value`` with dotted keys, applied to the values of the file.
        out: run folder. Default: ``runs/<config name>-<hash8>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        executor: ``serial``, ``processes`` or ``ray``.
        workers: maximum number of processes; 0 for one per core.
        ray_address: of a running Ray cluster.
        cell_timeout: seconds per task.
        worker_memory: GiB per worker.
        memory: GiB of features that a worker holds.
        fail_fast: stop at the first failure.
        retry_failed: retry what failed in an earlier run.
        progress: receives the planned rows.

    Raises:
        ConfigError: if the request is wrong; all problems at once.
        DataError: if the data are missing or unusable.

    Example:
        >>> prepared = api.prepare(overrides={"regions": ["eye", "mouth"], "fusions": "mlp", "smoothers": "none"})
        >>> [row.axes.views for row in prepared.plan.rows]
        ['face', 'face,eye', 'face,mouth']
    """
    from fusionkit.config.grid_config import resolve
    from fusionkit.grid.folder import RunFolder
    from fusionkit.grid.plan import make_plan
    from fusionkit.grid.run import RunOptions
    from fusionkit.storage.embeddings import EmbeddingStore

    raw, name = _read_config(config or DEFAULT_CONFIG, "bench", overrides, settings)
    grid = resolve(raw, name)
    options = RunOptions(
        device=choose_device(device),
        executor=executor,
        workers=workers,
        ray_address=ray_address,
        cell_timeout=cell_timeout,
        worker_memory=worker_memory,
        memory=memory,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
    )
    plan = make_plan(grid, options.device, progress)
    folder = RunFolder(Path(out) if out is not None else default_folder(grid))
    return Prepared(plan, folder, EmbeddingStore(cache_folder()), options)


def option_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config values of a grid's command-line options, by config key.

    Raises:
        ConfigError: if an option that a grid has once was given several times.

    Example:
        >>> api.option_values({"fusions": ["mlp,concat:heads=4"], "recipe": ["epochs=5"], "seeds": 3})
        {'fusions': ['mlp,concat:heads=4'], 'recipe': 'epochs=5', 'seeds': 3}
    """
    from fusionkit.config.config_file import option_values as values

    return values(given)


def plan_lines(prepared: Prepared, progress: Progress | None = None) -> Iterator[str]:
    """Yield the lines of a dry run: planned work, reused work and estimated time.

    Args:
        prepared: checked request.
        progress: receives heads and rows whose stored results are checked.

    Raises:
        ConfigError: before the first line, if the run folder holds results of another protocol.

    Example:
        >>> prepared = api.prepare(overrides={"regions": "eye", "fusions": "mlp", "smoothers": "none", "limit": 9})
        >>> [line.partition(" ")[0] for line in api.plan_lines(prepared)]
        ['run', 'embed', 'embed', 'fit', 'fit', 'score', 'score', 'embed:', 'fit:', 'score:', 'total:']
    """
    from fusionkit.report.plan_lines import plan_lines as lines

    prepared.folder.check(prepared.plan)
    yield from lines(prepared.plan, prepared.folder, prepared.store, prepared.options, progress)


@watched_interrupts()
def execute(
    prepared: Prepared, progress: Progress | None = None, *, scored: Callable[[Results], None] | None = None
) -> tuple[Outcome, Results]:
    """Run a prepared grid, then write its CSV files and its report.

    Args:
        prepared: checked request.
        progress: receives the finished work.
        scored: receives the results before the page is drawn.

    Raises:
        ConfigError: if the folder holds results of another protocol, or cannot be written.
        CellError: at the first failure, with ``fail_fast``.

    Example:
        >>> request = {"datasets": "synthetic:train=8,val=6,test=6,clips=4,clip_length=8", "recipe": {"epochs": 1}}
        >>> request |= {"regions": "eye,mouth", "fusions": "mlp", "smoothers": "none", "seeds": 2}
        >>> outcome, results = api.execute(api.prepare(overrides=request, out="runs/first"))
        >>> len(results.rows), outcome.failed
        (2, {})
    """
    from fusionkit.grid.first_checks import failed_checks as first_checks
    from fusionkit.grid.provenance import grid_provenance
    from fusionkit.grid.run import run
    from fusionkit.report.csv_files import write_csv_files
    from fusionkit.report.page.write import report_or_line
    from fusionkit.report.run import Results
    from fusionkit.report.run_data import RunData

    plan, folder = prepared.plan, prepared.folder
    folder.check(plan)
    failed = first_checks(plan, prepared.store.root)  # forks: before Ray or a progress bar starts a thread
    _check_cluster(prepared)
    folder.add_plan(plan, grid_provenance(plan, prepared.options), failed)
    outcome = run(prepared.plan, prepared.folder, prepared.store, prepared.options, progress or Progress())
    results = Results(prepared.folder)
    write_csv_files(results)
    if scored is not None:
        scored(results)
    outcome.notes += [*prepared.plan.backbone_notes, *report_or_line(results, RunData.of(prepared.plan))]
    return outcome, results


def _check_cluster(prepared: Prepared) -> None:
    """Raise if a Ray cluster is requested and cannot be reached; nothing has been written then."""
    if prepared.options.executor != "ray":
        return
    from fusionkit.grid.ray_executor import ray_module
    from fusionkit.grid.run import cluster
    from fusionkit.grid.tasks import Code

    ray_module()
    if prepared.options.ray_address is not None:
        executor = cluster(prepared.options, Code(prepared.plan.grid.plugins, prepared.plan.grid.modules))
        assert executor is not None
        executor.connect()
        executor.close()


def merge(others: Iterable[str | Path], out: str | Path) -> tuple[Merged, Results]:
    """Merge run folders on the same data and split into one, and rewrite its CSV files.

    Rows with a smoother or recipe that was selected over fewer seeds have no score until a grid with all seeds is run
    in the folder; that run trains nothing for them.

    Args:
        others: run folders; they are not changed.
        out: run folder that receives the union; created if it does not exist.

    Raises:
        ConfigError: if a folder holds results of another protocol; nothing is changed.
        DataError: if a folder holds no grid; nothing is changed.
        StorageError: if the folder cannot be written; repeat the call to resume.

    Example:
        >>> merged, results = api.merge(["runs/first"], "runs/all")
        >>> [row.name for row in results.rows]
        ['face/linear/none', 'face,eye,mouth/mlp/none']
    """
    from fusionkit.grid.folder import RunFolder
    from fusionkit.grid.merge import merge_folders
    from fusionkit.report.csv_files import write_csv_files
    from fusionkit.report.page.write import report_or_line
    from fusionkit.report.run import Results

    folder = RunFolder(Path(out))
    merged = merge_folders(folder, [RunFolder(Path(other)) for other in _listed(others)])
    results = Results(folder)
    write_csv_files(results)
    merged.notes += report_or_line(results, None)
    _warn(merged.warnings(folder.path))
    return merged, results


# -- results of a run folder -------------------------------------------------------------------------------------------


def compare(folder: str | Path, a: str, b: str, *, test: Test = "crossed") -> Comparison:
    """Compare two rows or cells of a run, overall and per class, on the frames and seeds that both have.

    Args:
        folder: run folder.
        a: row or cell, as :func:`load` takes it.
        b: likewise, the baseline of the differences.
        test: of intervals and p, as :func:`report` takes it.

    Raises:
        ConfigError: if a name matches no row or several rows, or the rows were not tested on the same frames.
        DataError: if the folder holds no grid, or the rows have no finished seed in common.

    Example:
        >>> comparison = api.compare("runs/first", "mlp", "linear")
        >>> comparison.names
        ('face,eye,mouth/mlp/none', 'face/linear/none')
    """
    from fusionkit.report.comparison import warnings
    from fusionkit.report.run import Results

    found = Results(Path(folder), test).compare(a, b)
    _warn(warnings(found))
    return found


@dataclass(frozen=True)
class WrittenReport:
    """What :func:`report` wrote.

    Attributes:
        path: the written file; None if a table was returned as text.
        text: the table, in every format but ``html``.
        figures: number of figures written.
    """

    path: Path | None
    text: str = ""
    figures: int = 0


def report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    form: ReportForm = "html",
    figures: str | Path | None = None,
    pictures: bool = True,
    test: Test = "crossed",
    plugins: Iterable[str | Path] = (),
) -> WrittenReport:
    r"""Write the report of a run as one HTML page, or its table for a paper or a script.

    Args:
        folder: run folder.
        out: output file. Default: ``report.html`` in the folder; a table is returned as text.
        form: ``html`` for the page; ``latex``, ``markdown``, ``csv`` or ``json`` for the table; ``latex-classes`` for
            the F1 of each class.
        figures: folder that receives every figure as SVG. Default: none are written.
        pictures: show frames of the data sets on the page.
        test: ``crossed``: intervals and p over units and seeds. ``bootstrap``: the same by the percentile bootstrap,
            too narrow with few units. ``permutation``: of these trained models, by swapping units.
        plugins: Python files that register components.

    Raises:
        ConfigError: if ``out`` is a folder or ``figures`` a file.
        DataError: if the folder holds no grid.
        StorageError: if a file cannot be written.

    Example:
        >>> print(api.report("runs/first", form="latex").text.splitlines()[0])
        \begin{table}  % needs \usepackage{booktabs}
        >>> api.report("runs/first", "page.html", pictures=False).path.name
        'page.html'
    """
    from fusionkit.report.charts.gallery import save_figures
    from fusionkit.report.paper_table import paper_table
    from fusionkit.report.run import Results
    from fusionkit.storage.artifact import check_writable, write_file

    _check("form", form, ReportForm)
    if out is not None and Path(out).is_dir():
        raise ConfigError(f"out: {out} is a folder", hint="name a file")
    if figures is not None and Path(figures).exists() and not Path(figures).is_dir():
        raise ConfigError(f"figures: {figures} is a file", hint="name a folder")
    _load_plugins(plugins)
    results = Results(Path(folder), test)
    path, text = None if out is None else Path(out), ""
    if path is not None or form == "html":
        check_writable(path or results.folder.path / "report.html")
    if form == "html":
        path = results.report(path, pictures=pictures)
    else:
        text = paper_table(results, form)
        if path is not None:
            write_file(path, text.encode())
    return WrittenReport(path, text, 0 if figures is None else save_figures(results, Path(figures)))


def ablate(
    folder: str | Path,
    cells: Iterable[str] = (),
    *,
    smoothed: bool = True,
    draws: int = 10,
    seed: int = 0,
    device: str = "auto",
    plugins: Iterable[str | Path] = (),
    progress: Progress | None = None,
) -> list[Ablation]:
    """Measure the score drop of trained rows when a view is shuffled, blanked or removed at test time.

    Nothing is trained. ``attribution.csv`` in the folder is replaced by the results of this call.

    Args:
        folder: run folder.
        cells: rows or cells, as :func:`load` takes them. Default: every finished row with an auxiliary view.
        smoothed: smooth the probabilities as in the run.
        draws: number of random draws to average.
        seed: random seed of the draws.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        plugins: Python files that register components.
        progress: receives perturbations, and frames that are embedded again.

    Raises:
        ConfigError: if a name matches no row or several rows, or a row has too many views.
        DataError: if a row is not finished, or its data are missing or have changed.
        StorageError: if the file cannot be written.
        FusionKitError: if a component fails.

    Example:
        >>> (ablation,) = api.ablate("runs/first", draws=2)
        >>> list(ablation.shapley)
        ['face', 'eye', 'mouth']
    """
    from fusionkit.predict.ablation import AblationOptions, ablate_rows
    from fusionkit.report.ablation import ATTRIBUTION, write_ablations

    how = AblationOptions(choose_device(device), smoothed, draws, seed)
    results = _open_for_test(folder, plugins, ATTRIBUTION)
    found = ablate_rows(results, _listed(cells), how, progress or Progress())
    write_ablations(results.folder.path, found)
    _warn(line for each in found for line in each.tested.warnings())
    return found


def robust(
    folder: str | Path,
    cells: Iterable[str] = (),
    *,
    pattern: Pattern = "frame",
    smoothed: bool = True,
    draws: int = 5,
    seed: int = 0,
    device: str = "auto",
    plugins: Iterable[str | Path] = (),
    progress: Progress | None = None,
) -> list[Robustness]:
    """Score trained rows while auxiliary views are missing at test time; ``robustness.csv`` in the folder is replaced.

    Args:
        folder: run folder.
        cells: as for :func:`ablate`.
        pattern: frames that lose a view together: ``frame``, ``run`` or ``unit`` (subject or video).
        smoothed: as for :func:`ablate`.
        draws: number of random draws to average.
        seed: random seed of the draws.
        device: as for :func:`ablate`.
        plugins: Python files that register components.
        progress: as for :func:`ablate`.

    Raises:
        ConfigError: as :func:`ablate`, or if a named row has no auxiliary view.
        FusionKitError: as :func:`ablate`.

    Example:
        >>> (robustness,) = api.robust("runs/first", draws=1)
        >>> [curve.missing for curve in robustness.curves]
        [('eye',), ('mouth',), ('eye', 'mouth')]
    """
    from fusionkit.engine.perturb import Pattern
    from fusionkit.predict.ablation import AblationOptions
    from fusionkit.predict.robustness import robust_rows
    from fusionkit.report.robustness import ROBUSTNESS, write_robustness

    _check("pattern", pattern, Pattern)
    how = AblationOptions(choose_device(device), smoothed, draws, seed)
    results = _open_for_test(folder, plugins, ROBUSTNESS)
    found = robust_rows(results, _listed(cells), how, pattern, progress or Progress())
    write_robustness(results.folder.path, found)
    _warn(line for each in found for line in each.tested.warnings())
    return found


def _open_for_test(folder: str | Path, plugins: Iterable[str | Path], written: str) -> Results:
    """Open a run folder in which a file will be written."""
    from fusionkit.report.run import Results
    from fusionkit.storage.artifact import check_writable

    _load_plugins(plugins)
    results = Results(Path(folder))
    check_writable(results.folder.path / written)
    return results


def summarize(result: Results | Comparison | Ablation | Robustness) -> Summary:
    """Return tables, sentences and warnings that describe a result, for a terminal.

    Example:
        >>> summary = api.summarize(api.compare("runs/first", "mlp", "linear"))
        >>> summary.lines[0] == api.compare("runs/first", "mlp", "linear").sentence()
        True
    """
    from fusionkit.report.summary import summarize as summary_of

    return summary_of(result)


def row_names(folder: str | Path) -> list[str]:
    """Return the names ``views/fusion/smoother`` in the ``results.csv`` of a folder; none if there is no such file.

    Example:
        >>> api.row_names("runs/first")
        ['face/linear/none', 'face,eye,mouth/mlp/none']
    """
    import csv

    try:
        with (Path(folder) / "results.csv").open(encoding="utf-8", newline="") as file:
            names = [f"{row['views']}/{row['fusion']}/{row['smoother']}" for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError):
        return []
    return list(dict.fromkeys(names))


# -- trained rows ------------------------------------------------------------------------------------------------------


def load(
    folder: str | Path,
    cell: str | None = None,
    *,
    device: str = "auto",
    impute: str | None = None,
    plugins: Iterable[str | Path] = (),
) -> Predictor:
    """Load a trained row or cell for prediction on new frames.

    It needs the run folder and the weights of the backbones, not the data. An exported cell needs its folder alone, and
    runs in ONNX Runtime without torch.

    Args:
        folder: run folder, or folder of an exported cell.
        cell: short id, name ``views/fusion/smoother[/seed]``, or an unambiguous part of a name. Without a seed, the
            probabilities of all seeds and folds of the row are averaged. None for an exported cell.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        impute: imputation of frames without any view: ``nearest``, ``linear`` or ``prior``. Default: as in the run.
        plugins: Python files that register components.

    Raises:
        ConfigError: if the name matches no row or several rows, or a weights file is missing.
        DataError: if no cell of the row is finished, or a weights file has changed.
        PluginError: if a component is unknown, or does not accept its stored state.

    Example:
        >>> predictor = fusionkit.load("runs/first", "mlp")
        >>> frames = [np.zeros((112, 112, 3), np.uint8)] * 2
        >>> predictor.predict_proba(frames, clip="one clip").shape
        (2, 8)
    """
    predictor = open_predictor(folder, cell, device=device, impute=impute, plugins=plugins)
    _warn(predictor.notes)
    return predictor


def open_predictor(
    folder: str | Path,
    cell: str | None = None,
    *,
    device: str = "auto",
    impute: str | None = None,
    plugins: Iterable[str | Path] = (),
) -> Predictor:
    """Load a trained row as :func:`load` does, without warnings: the caller shows ``notes`` of the predictor.

    Example:
        >>> str(api.open_predictor("runs/first", "mlp/none/0"))
        'face,eye,mouth/mlp/none/0'
    """
    from fusionkit.predict.export.manifest import is_exported

    _load_plugins(plugins)
    path = Path(folder)
    if is_exported(path):
        from fusionkit.predict.export.exported import open_exported

        if cell is not None:
            raise ConfigError(f"{path} is an exported cell, of which no row can be chosen", hint="leave cell out")
        return open_exported(path, device, impute)
    if cell is None:
        raise ConfigError(f"{path} is no exported cell: cell is missing", hint="give a row, as in results.csv")
    from fusionkit.grid.folder import RunFolder
    from fusionkit.predict.stored_cell import open_cell

    return open_cell(RunFolder(path), cell, choose_device(device), impute)


def export(folder: str | Path, cell: str, out: str | Path, *, plugins: Iterable[str | Path] = ()) -> ExportedCell:
    """Export a trained row or cell as ONNX and as a ``torch.export`` program, with a manifest and a model card.

    The exported model is run on frames, and its probabilities are compared with those of the cell. Backbones that
    cannot be written as a network stay code, which the manifest names.

    Args:
        folder: run folder.
        cell: row or cell, as :func:`load` takes it.
        out: folder that receives ``model.onnx``, ``model.pt2``, ``manifest.json`` and ``model-card.md``; new or empty.
        plugins: Python files that register components.

    Raises:
        ConfigError: if the name matches no row or several, a library is missing, or the folder is not empty.
        DataError: if no cell of the row is finished.
        PluginError: if a component cannot be exported, or the exported model gives other probabilities.
        StorageError: if the folder cannot be written.

    Example:
        >>> exported = api.export("runs/first", "mlp/none/0", "exported")
        >>> exported.check["probabilities_differ_by"] < 0.001
        True
    """
    from fusionkit.grid.folder import RunFolder
    from fusionkit.predict.export.write import export_cell
    from fusionkit.storage.artifact import check_writable

    _load_plugins(plugins)
    check_writable(Path(out))
    return export_cell(RunFolder(Path(folder)), cell, Path(out))


def submit(
    predictor: Predictor,
    out: str | Path,
    *,
    template: str | Path | None = None,
    dataset: str | Spec | None = None,
    per_video: bool = False,
    missing_classes: bool = False,
    progress: Progress | None = None,
) -> SubmissionResult:
    """Write the predictions of a challenge's test set.

    Args:
        predictor: trained row or cell.
        out: file that receives the rows of the template; with ``per_video`` a folder, new or empty, with one file per
            clip.
        template: example file of the challenge. Only with ``per_video`` it may be None; a clip then ends with its last
            frame in the data set.
        dataset: data set with the frames. Default: that of the row, with its test clips.
        per_video: write the format of the editions before the sixth.
        missing_classes: allow classes of the template that the row lacks; they are never predicted.
        progress: receives frames.

    Raises:
        ConfigError: if the request is wrong, the classes of row and template differ, or ``out`` is taken.
        DataError: if the template is malformed, or frames are missing.
        StorageError: if a file cannot be written.
        FusionKitError: if a component fails.

    Example:
        >>> predictor = fusionkit.load("runs/first", "mlp")
        >>> dataset = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
        >>> submission = api.submit(predictor, "per-video", dataset=dataset, per_video=True)
        >>> len(submission.predicted) == len(list(Path("per-video").iterdir()))
        True
    """
    from fusionkit.engine.source import open_source
    from fusionkit.predict import submission
    from fusionkit.registry import DATASETS
    from fusionkit.storage.artifact import check_writable

    if template is None and not per_video:
        raise ConfigError("a submission in one file needs a template")
    rows = submission.read_template(Path(template)) if template is not None else None
    submission.check_output(Path(out), rows, per_video=per_video)
    check_writable(Path(out))
    classes = rows.classes if rows else predictor.classes
    submission.class_order(
        predictor.classes, classes, missing_classes=missing_classes
    )  # checked before the data are opened
    spec = submission.with_test_clips(predictor.dataset) if dataset is None else DATASETS.spec(dataset)
    source = open_source(spec, None)
    frames = (rows.whole_clips() if per_video else rows.frames()) if rows else submission.all_test_frames(source)
    found = submission.predict_clips(
        predictor, classes, frames, source, progress or Progress(), missing_classes=missing_classes
    )
    if per_video or rows is None:
        submission.write_per_video(classes, found.predicted, Path(out))
    else:
        submission.write_rows(rows, found.predicted, Path(out))
    _warn(filter(None, [submission_warning(predictor, found)]))
    return found


def submission_warning(predictor: Predictor, result: SubmissionResult) -> str:
    """Return a warning if clips have no view in any frame, so that their class is a guess; else an empty text.

    Example:
        >>> predictor = fusionkit.load("runs/first", "mlp")
        >>> dataset = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
        >>> submission = api.submit(predictor, "per-clip", dataset=dataset, per_video=True)
        >>> api.submission_warning(predictor, submission)
        ''
    """
    if not result.unseen:
        return ""
    most = predictor.task.words(predictor.prior[None])[0]
    return f"{result.unseen:,} frames are in clips without any view; they get what is usual in training: {most}"


def check_submission(path: str | Path, template: str | Path) -> tuple[int, Iterator[str]]:
    r"""Check a file of predictions against the example file of a challenge.

    Returns:
        Number of rows in the template, and an iterator over the faults of the file, one line each.

    Raises:
        DataError: if a file cannot be read, or the template is malformed.

    Example:
        >>> template, answer = Path("template.txt"), Path("answer.txt")
        >>> _ = template.write_text("image_location,Neutral,Happiness\n1/00001.jpg,0,0\n")
        >>> _ = answer.write_text("image_location,Neutral,Happiness\n1/00001.jpg,2\n")
        >>> rows, faults = api.check_submission(answer, template)
        >>> rows, list(faults)
        (1, ["answer.txt:2: '2' is not a class number from 0 to 1"])
    """
    from fusionkit.predict.submission import read_template, submission_faults

    rows = read_template(Path(template))
    return len(rows), submission_faults(Path(path), rows)


# -- photos and videos -------------------------------------------------------------------------------------------------


class AlignProgress:
    """Hooks of :func:`align`; every hook does nothing by default."""

    def started(self, inputs: int) -> None:
        """Called once with the number of inputs."""

    def skipped(self, paths: Sequence[Path]) -> None:
        """Called with what an earlier call has written among the inputs: it is not read."""

    def frame_read(self, item: MediaInput, number: int, expected: int | None) -> None:
        """Called after each frame with its number from 1, and the declared number of frames or None."""

    def finished(self, outcome: AlignOutcome) -> None:
        """Called after each input."""


def align(
    inputs: Sequence[str | Path],
    *,
    detector: str,
    out: str | Path = "aligned",
    people: People = "all",
    side: int = 112,
    rotate: Literal["auto", "0", "90", "180", "270"] = "auto",
    min_frames: int = 5,
    patience: int = 30,
    plugins: Iterable[str | Path] = (),
    progress: AlignProgress | None = None,
) -> tuple[list[AlignOutcome], list[str]]:
    """Find the faces of photos and videos, and write them aligned in the layout of Aff-Wild2.

    An interrupted call resumes when it is repeated.

    Args:
        inputs: photos, videos and folders of them.
        detector: extractor that detects faces, as ``yunet:model=FILE``.
        out: folder of the crops.
        people: faces of a frame that are kept: ``all``, or one by size or position.
        side: side of a crop in px.
        rotate: degrees by which frames are turned clockwise; ``auto``: for each input, as its faces are upright.
        min_frames: faces of a video with fewer frames are dropped, unless all have fewer.
        patience: frames without detection after which a face is a new one.
        plugins: Python files that register components.
        progress: receives frames and outcomes.

    Returns:
        The outcome of each input, and a message for each folder that cannot be listed.

    Raises:
        ConfigError: if an input does not exist, or the detector is wrong.
        StorageError: if ``out`` cannot be written.

    Example:
        >>> detector = "insightface:pack=pack,side=128"
        >>> (outcome,), unlisted = api.align(["photos/anna.png"], detector=detector, out="aligned")
        >>> sorted(path.name for path in Path("aligned").iterdir())
        ['align', 'coverage.csv', 'coverage.png', 'cropped_aligned']
    """
    from fusionkit.media import align as media
    from fusionkit.media.coverage import write_coverage
    from fusionkit.media.face_tracking import DetectionOptions
    from fusionkit.media.inputs import find_inputs, join_numbered_images
    from fusionkit.media.turns import turn_of
    from fusionkit.registry import EXTRACTORS
    from fusionkit.registry.spec import Spec
    from fusionkit.storage.identity import component_identity

    _check("people", people, People)
    _load_plugins(plugins)
    spec, progress = Spec.parse(detector), progress or AlignProgress()
    chosen = None if people == "all" else people
    options = DetectionOptions(EXTRACTORS.build(spec), chosen, side, min_frames, patience, turn_of(rotate))
    earlier = media.output_paths(Path(out))
    found, unlisted = find_inputs(_listed(inputs), earlier)
    found = join_numbered_images(found)
    if skipped := media.written_below(_listed(inputs), earlier):
        progress.skipped(skipped)
    media.check_output(Path(out))
    progress.started(len(found))
    outcomes: list[AlignOutcome] = []
    identity = component_identity(EXTRACTORS, spec)
    try:
        for outcome in media.align(found, options, identity, Path(out), progress.frame_read):
            outcomes.append(outcome)
            progress.finished(outcome)
    finally:
        write_coverage(outcomes, Path(out))
    return outcomes, unlisted


@dataclass(frozen=True, eq=False)
class VideoPredictions:
    """Predictions of photos and videos. They are computed, and written, while ``results`` is consumed.

    Attributes:
        run: the predictor, and the path and number of rows of the table.
        results: the result of each input, in order.
        unlisted: a message for each folder that cannot be listed.
    """

    run: VideoRun
    results: Iterator[VideoResult]
    unlisted: list[str]


def predict(
    folder: str | Path,
    cell: str | None,
    inputs: Sequence[str | Path],
    *,
    detector: str | None = None,
    out: str | Path = "predictions",
    stream: bool = False,
    draw: bool = True,
    people: People = "all",
    side: int = 112,
    rotate: Literal["auto", "0", "90", "180", "270"] = "auto",
    batch: int | None = None,
    impute: str | None = None,
    device: str = "auto",
    plugins: Iterable[str | Path] = (),
    progress: Progress | None = None,
) -> VideoPredictions:
    """Run a trained row or cell on photos and videos.

    Args:
        folder: run folder, or folder of an exported cell.
        cell: row or cell, as :func:`load` takes it.
        inputs: photos, videos and folders of them.
        detector: extractor that detects faces, as ``yunet:model=FILE``. Default: the inputs are aligned faces.
        out: folder that receives ``predictions.csv``, timelines, and annotated videos and photos.
        stream: predict each frame before the next is read; the smoother must be causal.
        draw: write annotated videos and photos.
        people: faces of a frame that are kept: ``all``, or one by size or position.
        side: side of an aligned face in px, as in training.
        rotate: degrees by which frames are turned clockwise; ``auto``: for each input, as its faces are upright.
        batch: number of faces that are embedded together. Default: 64; 1 with ``stream``.
        impute: imputation of frames without a face: ``nearest``, ``linear`` or ``prior``. Default: as in the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        plugins: Python files that register components.
        progress: receives frames.

    Raises:
        ConfigError: if the request is wrong, or the row cannot be streamed.
        DataError: if no cell of the row is finished, or a weights file has changed.
        PluginError: if a component is unknown, or does not accept its stored state.

    Example:
        >>> predictions = api.predict("runs/first", "mlp", ["faces"], out="predictions")
        >>> results = list(predictions.results)
        >>> len(results), predictions.run.table.name
        (2, 'predictions.csv')
    """
    from fusionkit.media.face_tracking import DetectionOptions
    from fusionkit.media.inputs import find_inputs, join_numbered_images
    from fusionkit.media.turns import turn_of
    from fusionkit.predict.video.run import VideoOptions, VideoRun, picture_folders
    from fusionkit.registry import EXTRACTORS
    from fusionkit.registry.spec import Spec

    _check("people", people, People)
    found, unlisted = find_inputs(_listed(inputs), picture_folders(Path(out)))
    predictor = open_predictor(folder, cell, device=device, impute=impute, plugins=plugins)
    built = EXTRACTORS.build(Spec.parse(detector)) if detector is not None else None
    detection = DetectionOptions(built, None if people == "all" else people, side, rotate=turn_of(rotate))
    run = VideoRun(predictor, VideoOptions(detection, stream, batch, draw), Path(out))
    _warn(predictor.notes)
    results = run(join_numbered_images(found), progress or Progress())
    return VideoPredictions(run, _with_alignment_warning(run, results), unlisted)


def demo(
    folder: str | Path,
    cell: str,
    *,
    detector: str | None = None,
    side: int = 112,
    port: int | None = None,
    device: str = "auto",
    plugins: Iterable[str | Path] = (),
) -> DemoPage:
    """Serve a page on the loopback address that shows what a trained row or cell sees and predicts.

    Args:
        folder: run folder.
        cell: row or cell, as :func:`load` takes it.
        detector: extractor that detects faces, as ``yunet:model=FILE``. Default: pictures are aligned faces.
        side: side of an aligned face in px, as in training.
        port: TCP port. Default: the first free one from 7860.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        plugins: Python files that register components.

    Returns:
        The running page: ``url``, ``wait()`` and ``close()``.

    Raises:
        ConfigError: if Gradio is not installed, the port is in use, or the row cannot be used on pictures.
        DataError: if no cell of the row is finished, or a weights file has changed.
        PluginError: if a component is unknown, or does not accept its stored state.

    Example:
        >>> page = api.demo("runs/first", "mlp")
        >>> page.url.startswith("http://127.0.0.1:")
        True
        >>> page.close()
    """
    from fusionkit.media.face_tracking import DetectionOptions
    from fusionkit.predict.demo.page import DemoPage
    from fusionkit.registry import EXTRACTORS
    from fusionkit.registry.spec import Spec

    predictor = open_predictor(folder, cell, device=device, plugins=plugins)
    built = EXTRACTORS.build(Spec.parse(detector)) if detector is not None else None
    _warn(predictor.notes)
    return DemoPage(predictor, DetectionOptions(built, "largest", side), port)


def _with_alignment_warning(run: VideoRun, results: Iterable[VideoResult]) -> Iterator[VideoResult]:
    """Yield the results, after a warning at the first one that does not look like aligned faces."""
    warned = False
    for result in results:
        if not warned and (line := alignment_warning(run, result)):
            warned = True
            _warn([line])
        yield result


def prediction_lines(run: VideoRun, result: VideoResult) -> list[str]:
    """Return the labels of an input in one line, and for a streamed video its speed in another.

    Example:
        >>> predictions = api.predict("runs/first", "mlp", ["faces"], draw=False)
        >>> lines = [line for result in predictions.results for line in api.prediction_lines(predictions.run, result)]
        >>> [line.partition(":")[0] for line in lines]
        ['faces/ben.png', 'faces/cora.png']
    """
    from fusionkit.predict.video.summary import speed_line, summary_line

    speed = [f"  {speed_line(result)}"] if run.options.stream and not result.source.is_photo else []
    return [summary_line(result, run.predictor.task), *speed]


def alignment_warning(run: VideoRun, result: VideoResult) -> str:
    """Return a warning if frames that were used as aligned faces do not look like faces; else an empty text.

    Example:
        >>> predictions = api.predict("runs/first", "mlp", ["faces"], draw=False)
        >>> [api.alignment_warning(predictions.run, result) for result in predictions.results]
        ['', '']
    """
    from fusionkit.predict.video.summary import alignment_warning as warning

    return warning(result) if run.assumes_aligned else ""


# -- data --------------------------------------------------------------------------------------------------------------


def preview(
    dataset: str = "synthetic",
    *,
    inputs: Sequence[str | Path] = (),
    extractor: str = "template",
    regions: str = "eye,mouth,nose,eye+mouth",
    frames: int = 8,
    rotate: Literal["auto", "0", "90", "180", "270"] = "auto",
    out: str | Path = "preview.png",
    plugins: Iterable[str | Path] = (),
) -> list[str]:
    """Write a contact sheet: frames with their region boxes, and below them the views.

    Args:
        dataset: data set, as ``name:key=value,...``.
        inputs: photos, videos and folders of them, shown instead of the data set.
        extractor: region extractor.
        regions: views beside the face, separated by commas.
        frames: frames per class or video.
        rotate: of inputs, degrees by which frames are turned clockwise; ``auto``: for each input, as the faces are
            upright that the extractor detects.
        out: PNG file.
        plugins: Python files that register components.

    Returns:
        A line for each input that is not shown, or was turned.

    Raises:
        ConfigError: if the request is wrong.
        DataError: if nothing can be shown.
        StorageError: if the file cannot be written.

    Example:
        >>> api.preview("synthetic:train=8,val=6,test=6,clips=4,clip_length=8", frames=1, out="preview.png")
        []
    """
    from fusionkit.config.views import parse_region_set
    from fusionkit.data.contact_sheet import write_contact_sheet
    from fusionkit.data.media_sheet import write_media_sheet
    from fusionkit.media.turns import turn_of
    from fusionkit.registry import DATASETS
    from fusionkit.registry.spec import Spec
    from fusionkit.storage.artifact import check_writable

    _load_plugins(plugins)
    check_writable(Path(out))
    views = parse_region_set(regions)
    if inputs:
        turn = turn_of(rotate)
        return write_media_sheet(_listed(inputs), Spec.parse(extractor), views, frames, Path(out), turn)
    write_contact_sheet(DATASETS.spec(dataset), Spec.parse(extractor), views, frames, Path(out))
    return []


def check_data(
    dataset: str, *, read: bool = False, plugins: Iterable[str | Path] = (), progress: Progress | None = None
) -> DataCheck:
    """Count what a data set holds, and collect its problems with file and line.

    Args:
        dataset: data set, as ``name:key=value,...``.
        read: decode every image.
        plugins: Python files that register components.
        progress: receives frames.

    Raises:
        ConfigError: if the data set is unknown or its options are wrong.
        DataError: if the data cannot be opened.

    Example:
        >>> found = api.check_data("synthetic:train=8,val=6,test=6,clips=4,clip_length=8")
        >>> [(split.name, split.units) for split in found.splits]
        [('train', 8), ('val', 6), ('test', 6), ('all', 20)]
        >>> found.problems
        []
    """
    from fusionkit.data.check import check_data as check
    from fusionkit.registry import DATASETS

    _load_plugins(plugins)
    return check(DATASETS.build(dataset), read=read, progress=progress or Progress())


def synthesize(
    out: str | Path,
    *,
    layout: str = "affwild2",
    clips: int = 80,
    frames: int = 30,
    difficulty: float = 0.5,
    seed: int = 0,
    faults: bool = True,
    progress: Progress | None = None,
) -> int:
    """Write synthetic faces in the directory layout of a known data set, and return the number of frames.

    Args:
        out: folder, new or empty.
        layout: name of the layout.
        clips: number of clips, at least 32; half of them are for training.
        frames: mean number of frames per clip.
        difficulty: from 0 (easiest) to 1.
        seed: of the random numbers.
        faults: include the irregularities of the real data.
        progress: receives frames.

    Raises:
        ConfigError: if the layout is unknown, there are too few clips, or ``out`` is taken.
        StorageError: if a file cannot be written.

    Example:
        >>> api.synthesize("drawn", clips=32, frames=6, faults=False) > 100
        True
    """
    from fusionkit.data.layouts import check_free, find_layout, synthetic_clips, write_layout

    writer, progress = find_layout(layout), progress or Progress()
    check_free(Path(out))
    faces = synthetic_clips(clips, frames, seed, faults=faults, difficulty=difficulty)
    with progress.stage("draw", len(faces.frames), "frames"):
        write_layout(writer, faces, Path(out), faults, progress.advance)
    return len(faces.frames)


def write_views(
    dataset: str,
    view: str,
    out: str | Path,
    *,
    extractor: str = "template",
    splits: Sequence[str] = (),
    size: int | None = None,
    form: Form = "same",
    plugins: Iterable[str | Path] = (),
    progress: Progress | None = None,
) -> WrittenViews:
    """Write one view of every frame to image files, with the annotation, as a data set of its own.

    An interrupted call resumes when it is repeated.

    Args:
        dataset: data set, as ``name:key=value,...``.
        view: ``face``, ``eye``, ``eye+mouth``, ``keep:eye``, ``drop:mouth``, ...
        out: folder, new or empty.
        extractor: region extractor.
        splits: official splits to write, ``train`` among them. Default: all frames.
        size: side of each image in px. Default: the size of the cut.
        form: format of the files: ``same`` as the source, ``jpg`` or ``png``.
        plugins: Python files that register components.
        progress: receives frames.

    Raises:
        ConfigError: if the request is wrong, or ``out`` is taken.
        DataError: if the data cannot be read, or no frame has the view.
        StorageError: if a file cannot be written.

    Example:
        >>> dataset = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
        >>> written = api.write_views(dataset, "eye+mouth", "eye-mouth", splits=["train"])
        >>> written.reader.name
        'folder'
    """
    from fusionkit.config.views import View
    from fusionkit.data.layouts import Form
    from fusionkit.data.views import ViewRequest
    from fusionkit.data.views import write_views as write
    from fusionkit.registry import DATASETS
    from fusionkit.registry.spec import Spec

    _check("form", form, Form)
    _load_plugins(plugins)
    request = ViewRequest(
        DATASETS.spec(dataset), View.parse(view), Spec.parse(extractor), tuple(_listed(splits)), size, form
    )
    return write(request, Path(out), progress or Progress())


def write_composites(dataset: str, out: str | Path, *, count: int = 12, plugins: Iterable[str | Path] = ()) -> int:
    """Write a PNG of composite frames, each below its source frames, and return how many it shows.

    Args:
        dataset: data set that composes frames, as ``swapped:source=synthetic,classes=Fear``.
        out: PNG file.
        count: number of composites.
        plugins: Python files that register components.

    Raises:
        ConfigError: if the data set is wrong or composes no frames, or ``out`` is not a PNG.
        DataError: if the data cannot be read.
        StorageError: if the file cannot be written.

    Example:
        >>> dataset = 'swapped:source="synthetic:train=8,val=6,test=6,clips=4,clip_length=8",classes=Fear'
        >>> api.write_composites(dataset, "swapped.png", count=2)
        2
    """
    from fusionkit.data.composite_sheet import write_composite_sheet
    from fusionkit.registry import DATASETS
    from fusionkit.storage.artifact import check_writable

    _load_plugins(plugins)
    check_writable(Path(out))
    return write_composite_sheet(DATASETS.spec(dataset), count, Path(out))


# -- training of backbones ---------------------------------------------------------------------------------------------


def pretrain(
    config: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    plugins: Iterable[str | Path] = (),
    progress: TrainingProgress | None = None,
) -> Pretrained:
    """Pre-train a vision transformer as a masked autoencoder on unlabelled faces, or resume such a run.

    Args:
        config: config file, or name of a shipped config.
        overrides: config keys that override those of the file.
        settings: ``key=value`` with dotted keys, applied to the values of the file.
        out: run folder. Default: ``runs/pretrain-<config name>-<hash8>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        plugins: Python files that register components.
        progress: receives steps and losses, in the main process only.

    Raises:
        ConfigError: if the request is wrong, or the folder holds another run or is in use.
        DataError: if the data are missing or too few, or every checkpoint is damaged.
        CellError: if the loss is not finite.
        StorageError: if the folder cannot be written.

    Example:
        >>> encoder = {"model": "vit_tiny_patch16_224", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
        >>> pretrained = api.pretrain(
        ...     "pretrain/tiny",
        ...     overrides={"encoder": encoder, "data": "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"},
        ...     settings=["limit=16", "recipe.epochs=1", "recipe.warmup_epochs=0", "recipe.batch_size=8"],
        ...     out="runs/encoder",
        ... )
        >>> pretrained.encoder.name
        'encoder.safetensors'
    """
    from fusionkit.grid.provenance import provenance
    from fusionkit.training.pretrain import pretrain as train
    from fusionkit.training.pretrain_config import resolve_pretrain

    _load_plugins(plugins)
    resolved = resolve_pretrain(*_read_config(config, "pretrain", overrides, settings))
    folder = Path(out) if out is not None else default_folder(resolved, "pretrain-")
    chosen = choose_device(device)
    done = train(resolved, folder, chosen, provenance(chosen), progress if is_main_process() else None)
    unreadable = [f"without an image: {len(done.unreadable)}: {first_of(done.unreadable)}"] if done.unreadable else []
    if is_main_process():
        _warn(done.notes, unreadable)
    return done


def finetune(
    config: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    plugins: Iterable[str | Path] = (),
    progress: TrainingProgress | None = None,
) -> Finetuned:
    """Fine-tune a backbone on one view, or a joint network on several views, or resume such a run.

    The folder of the result holds test results as that of :func:`bench` does: open it with ``Results``.

    Args:
        config: config file, or name of a shipped config.
        overrides: config keys that override those of the file.
        settings: ``key=value`` with dotted keys, applied to the values of the file.
        out: run folder. Default: ``runs/finetune-<config name>-<hash8>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        plugins: Python files that register components.
        progress: receives steps, losses and dev scores, in the main process only.

    Raises:
        ConfigError: if the request is wrong, or the folder holds another run or is in use.
        DataError: if the data are missing or too few, or every checkpoint is damaged.
        CellError: if the loss is not finite.
        StorageError: if the folder cannot be written.

    Example:
        >>> tuned = api.finetune(
        ...     "finetune/tiny",
        ...     overrides={"dataset": "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"},
        ...     settings=["limit=16", "recipe.epochs=1", "recipe.warmup_epochs=0", "backbone.size=32"],
        ...     out="runs/tuned",
        ... )
        >>> [row.name for row in fusionkit.Results("runs/tuned").rows]
        ['face/finetuned/none']
    """
    from fusionkit.grid.provenance import provenance
    from fusionkit.report.csv_files import write_csv_files
    from fusionkit.report.run import Results
    from fusionkit.training.finetune import finetune as train
    from fusionkit.training.finetune_config import resolve_finetune

    _load_plugins(plugins)
    resolved = resolve_finetune(*_read_config(config, "finetune", overrides, settings))
    folder = Path(out) if out is not None else default_folder(resolved, "finetune-")
    chosen, main = choose_device(device), is_main_process()
    done = train(resolved, folder, chosen, provenance(chosen), progress if main else None)
    if main:
        results = Results(done.folder)
        write_csv_files(results)
        unseen = sorted({name for item in done.trained for name in item.unreadable})
        _warn(results.warnings, done.notes, [f"without a view: {len(unseen)}: {first_of(unseen)}"] if unseen else [])
    return done


def is_main_process() -> bool:
    """Return whether this process reports to the user: always, except in distributed training.

    Example:
        >>> api.is_main_process()
        True
    """
    from fusionkit.training import processes

    return processes.is_main_process()


# -- components --------------------------------------------------------------------------------------------------------


def component_names(kind: str | None = None) -> list[str]:
    """Return the names of all components, or of one kind (plural, as ``fusions``), sorted. Nothing is imported.

    Example:
        >>> api.component_names("extractors")
        ['insightface', 'template', 'yunet']
    """
    from fusionkit.registry import REGISTRIES

    registries = [registry for key, registry in REGISTRIES.items() if kind in (None, key)]
    return sorted({name for registry in registries for name in registry.names()})


def component_options(kind: str, name: str) -> dict[str, list[str] | None]:
    """Return the options of a component, each with the values to offer, the default first; None for a path.

    Args:
        kind: plural, as ``fusions``.
        name: of the component; one that cannot be imported has no options.

    Example:
        >>> api.component_options("extractors", "template")["layout"][:2]
        ['emotic', 'arcface']
    """
    from fusionkit.errors import FusionKitError
    from fusionkit.registry import REGISTRIES
    from fusionkit.registry.options import offered_values

    try:
        return offered_values(REGISTRIES[kind].get(name))
    except FusionKitError:
        return {}


def component_kinds() -> dict[str, str]:
    """Return the kinds of components: plural to singular.

    Example:
        >>> list(api.component_kinds())
        ['datasets', 'tasks', 'extractors', 'backbones', 'fusions', 'smoothers']
    """
    from fusionkit.registry import REGISTRIES

    return {key: registry.kind for key, registry in REGISTRIES.items()}


def list_components(
    kind: str | None = None, pattern: str = "*", *, package: str = "", plugins: Iterable[str | Path] = ()
) -> list[tuple[str, str, list[Origin]]]:
    """List components as (kind, name, origins); two origins are a name clash. Nothing is imported.

    Args:
        kind: plural, as ``fusions``. Default: all kinds.
        pattern: names with wildcards, as ``plain-*``.
        package: only components of this distribution. Default: all.
        plugins: Python files that register components.

    Raises:
        ConfigError: if the kind is unknown.

    Example:
        >>> [name for _, name, _ in api.list_components("smoothers", "kalman*")]
        ['kalman', 'kalman-filter']
    """
    from fusionkit.registry import find_components

    _load_plugins(plugins)
    return [(registry.kind, name, origins) for registry, name, origins in find_components(kind, pattern, package)]


def failed_checks() -> dict[tuple[str, str], list[str]]:
    """Return the conformance checks that components failed before their first bench, from the cache folder.

    Nothing is imported and no check runs. Components whose source has changed since are left out.

    Returns:
        Names of the checks by kind (singular) and target (:attr:`Origin.target`) of the component.

    Example:
        >>> api.failed_checks()
        {}
    """
    from fusionkit.storage.check_outcomes import failed_checks as found

    return found(cache_folder())


def catalogue(
    kind: str | None = None, pattern: str = "*", *, package: str = "", plugins: Iterable[str | Path] = ()
) -> list[Entry]:
    """Describe components; the arguments are those of :func:`list_components`. The components are imported.

    Raises:
        ConfigError: if the kind is unknown.
        PluginError: if a component cannot be imported.

    Example:
        >>> [(entry.name, entry.tags) for entry in api.catalogue("smoothers", "hmm*")]
        [('hmm', ('of probs', 'fitted')), ('hmm-filter', ('of probs', 'causal', 'fitted'))]
    """
    from fusionkit.testing.catalogue import entries

    _load_plugins(plugins)
    return list(entries(kind, pattern, package))


def markdown_catalogue(found: Sequence[Entry]) -> str:
    """Return the entries of :func:`catalogue` as Markdown, one table per kind.

    Example:
        >>> print(api.markdown_catalogue(api.catalogue("smoothers", "none")).splitlines()[0])
        ## Smoothers
    """
    from fusionkit.testing.catalogue import markdown

    return markdown(found)


def describe(name: str, *, plugins: Iterable[str | Path] = ()) -> list[Entry]:
    """Describe a component by name, or by ``kind/name``; several entries if kinds share the name.

    Raises:
        ConfigError: if there is no such component.
        PluginError: if it cannot be imported.

    Example:
        >>> (mlp,) = api.describe("mlp")
        >>> [(option.name, option.default) for option in mlp.options]
        [('hidden', 256), ('activation', 'relu'), ('dropout', 0.0)]
    """
    from fusionkit.testing.catalogue import entries_named

    _load_plugins(plugins)
    return entries_named(name)


def describe_sections(command: str = "bench") -> dict[str, Documented]:
    """Describe the sections of a config, such as the training recipe (optimiser, epochs, loss), and their options.

    Args:
        command: ``bench``, ``finetune`` or ``pretrain``: the command that reads the config.

    Returns:
        The key of each section in the config with its description.

    Raises:
        ConfigError: if another command is given.

    Example:
        >>> [option.name for option in api.describe_sections()["recipe"].options][:3]
        ['standardize', 'optimizer', 'lr']
        >>> list(api.describe_sections("pretrain"))
        ['encoder', 'decoder', 'recipe', 'run']
    """
    from fusionkit.config.recipe import Recipe
    from fusionkit.testing.catalogue import documented

    if command == "bench":
        sections: dict[str, type] = {"recipe": Recipe}
    elif command == "finetune":
        from fusionkit.training.finetune_config import FinetuneRecipe, FinetuneRunSection

        sections = {"recipe": FinetuneRecipe, "run": FinetuneRunSection}
    elif command == "pretrain":
        from fusionkit.training.pretrain_config import SECTIONS

        sections = dict(SECTIONS)
    else:
        raise ConfigError(f"no config of {command!r}; must be one of: bench, finetune, pretrain")
    return {key: documented(cls) for key, cls in sections.items()}


def new_package(kind: str, name: str, out: str | Path = ".") -> Path:
    """Write an installable package with one working component, its tests and its entry point.

    Args:
        kind: ``fusion``, ``smoother``, ``extractor``, ``backbone``, ``dataset`` or ``task``.
        name: name of the component, as ``gated-sum``.
        out: parent folder of the package's folder.

    Raises:
        ConfigError: if the kind is unknown, the name is invalid or taken, or the folder exists.
        StorageError: if a file cannot be written.

    Example:
        >>> sorted(path.name for path in api.new_package("fusion", "doubled-sum", "packages").iterdir())
        ['README.md', 'pyproject.toml', 'src', 'tests']
    """
    from fusionkit.testing.package_writer import write_package

    return write_package(kind, name, Path(out))


def check_components(
    targets: Iterable[str],
    *,
    plugins: Iterable[str | Path] = (),
    timeout: float = 120.0,
    started: Callable[[str, str, str], object] | None = None,
    finished: Callable[[CheckResult], object] | None = None,
) -> list[CheckResult]:
    """Check components against the contract of their kind, with each of their example option sets.

    The checks of a component run in a process of their own, on one thread. A check that exceeds the time limit, or ends
    the process, has failed, and the later ones of its component are skipped. Checks of a fusion or smoother may use
    2 GiB of memory, others 90 % of what is available; only Linux enforces it. What a component prints goes to standard
    error.

    Args:
        targets: names, ``kind/name``, ``name:key=value,...``, packages, or Python files.
        plugins: Python files that register components; for targets that name one of them.
        timeout: time limit of one check, in seconds.
        started: called with kind, SPEC and name of the check before each check.
        finished: called with each result.

    Raises:
        ConfigError: if a target is unknown, has no component, or names an unknown option.
        PluginError: if a component cannot be imported.

    Example:
        >>> results = api.check_components(["smoother/none"])
        >>> [result.check for result in results if result.outcome == "failed"]
        []
    """
    from fusionkit.grid.check_process import check_apart
    from fusionkit.grid.tasks import Code
    from fusionkit.testing.targets import components_of

    if not timeout > 0:
        raise ConfigError(f"timeout = {timeout!r} must be a number of seconds above 0")
    targets, files = _listed(targets), [str(file) for file in plugins]
    _load_plugins(files)
    components = dict.fromkeys(found for target in targets for found in components_of(target))
    code = Code((*files, *(target for target in targets if target.endswith(".py"))), ())
    return [
        result
        for kind, spec in components
        for result in check_apart(kind, spec, code, timeout, started and partial(started, kind, spec), finished)
    ]


# -- this machine ------------------------------------------------------------------------------------------------------


def doctor() -> list[Finding]:
    """Examine versions, machine, folders, plugins and weights. Nothing is written or downloaded.

    Example:
        >>> [finding.name for finding in api.doctor() if finding.topic == "versions"][:2]
        ['fusionkit', 'python']
    """
    from fusionkit.doctor import examine

    return list(examine())


def cache_folder() -> Path:
    """Return the folder of stored embeddings: ``FUSIONKIT_CACHE``, else the cache folder of the platform.

    Example:
        >>> api.cache_folder().is_dir()
        True
    """
    from fusionkit.storage.cache_folder import cache_folder as folder

    return folder()


def cache_entries(unused_days: float = 0.0) -> list[CacheEntry]:
    """Return the stored embeddings that were not used for some days, the longest unused first.

    Example:
        >>> api.cache_entries(unused_days=30)
        []
    """
    import time

    from fusionkit.storage.embeddings import EmbeddingStore

    now = time.time()
    return [entry for entry in EmbeddingStore(cache_folder()).entries() if now - entry.used >= unused_days * _DAY]


def prune_cache(unused_days: float = 0.0) -> list[CacheEntry]:
    """Delete the stored embeddings that were not used for some days, and return them.

    Run folders do not need them; they are computed again when a new head needs them.

    Raises:
        StorageError: if one cannot be deleted.

    Example:
        >>> api.prune_cache(unused_days=30)
        []
    """
    from fusionkit.storage.embeddings import EmbeddingStore

    store, entries = EmbeddingStore(cache_folder()), cache_entries(unused_days)
    for entry in entries:
        store.remove(entry)
    return entries


def choose_device(device: str) -> str:
    """Return the device to use: ``auto`` is the first CUDA device if there is one, else the CPU.

    ``cuda`` stands for all visible GPUs, ``mps`` for the GPU of an Apple processor.

    Raises:
        ConfigError: if the device is unknown or not available.

    Example:
        >>> api.choose_device("cpu")
        'cpu'
    """
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda:0" if available else "cpu"
    if device == "cpu":
        return device
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError(
                "device 'mps' is not available: torch finds no Apple GPU", hint="auto, cpu, cuda or cuda:N"
            )
        return device
    kind, _, index = device.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise ConfigError(f"unknown device {device!r}", hint="auto, cpu, cuda, cuda:N or mps")
    count = torch.cuda.device_count()
    if not available or int(index or 0) >= count:
        raise ConfigError(f"device {device!r} is not available: torch finds {count} CUDA device(s)")
    return device


# -- configs -----------------------------------------------------------------------------------------------------------


def shipped_configs(command: str = "") -> list[str]:
    """Return the names of the shipped configs, or of those of one command, as ``bench/quickstart``.

    Example:
        >>> api.shipped_configs("bench")[:2]
        ['bench/fusions', 'bench/quickstart']
    """
    from fusionkit.config.config_file import shipped_names

    return [name for name in shipped_names() if name.startswith(command)]


def default_folder(config: GridConfig | PretrainConfig | FinetuneConfig, prefix: str = "") -> Path:
    """Return the default run folder of a checked config, ``runs/<prefix><config name>-<hash8>``.

    Example:
        >>> grid = api.prepare("bench/regions").plan.grid
        >>> api.default_folder(grid).name.rpartition("-")[0]
        'regions'
    """
    return Path("runs") / f"{prefix}{config.name}-{config.digest()[:8]}"


def _warn(*groups: Iterable[str]) -> None:
    """Emit each line once as a warning of the code that called the function of this module."""
    for line in dict.fromkeys(line for group in groups for line in group):
        warnings.warn(line, FusionKitWarning, stacklevel=3)


def _read_config(
    config: str | Path, command: str, overrides: Mapping[str, Any] | None, settings: Iterable[str]
) -> tuple[dict[str, Any], str]:
    """Return the values of a config with overrides, and its name."""
    from fusionkit.config.config_file import find_config, read_config

    path = find_config(str(config))
    return {**read_config(path, _listed(settings), command), **(overrides or {})}, path.stem


def _check(name: str, value: object, annotation: object) -> None:
    """Raise :class:`ConfigError` unless the value of an argument fits its annotation."""
    from fusionkit.registry.options import requirement

    if required := requirement(value, annotation):
        raise ConfigError(f"{name} = {value!r} must be {required}")


def _listed(given: Any) -> list[Any]:
    """Return several values as a list; a text or a path is one value, not its letters."""
    return [given] if isinstance(given, str | Path) else list(given)


def _load_plugins(paths: Iterable[str | Path]) -> None:
    from fusionkit.registry.plugin_file import load_plugin_file

    for path in _listed(paths):
        load_plugin_file(str(path))
