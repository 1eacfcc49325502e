"""Stage 2: fine-tune backbones on labelled views: one view alone, or several views joined at some position."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusionkit.config.views import FACE
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan
from fusionkit.grid.row import RowScorer, StoredHeads
from fusionkit.grid.tasks import single_thread
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import check_artifact
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.lease import waiting_lease
from fusionkit.training.finetune_config import FinetuneConfig
from fusionkit.training.finetune_plan import FinetuneWork, make_finetune_plan
from fusionkit.training.finetune_run import BACKBONE, BEST, FinetuneRun, Trained
from fusionkit.training.processes import is_main_process
from fusionkit.training.progress import TrainingProgress

RUNS = "runs"  # folder of the runs of several networks


@dataclass(frozen=True, eq=False)
class Finetuned:
    """The result of a fine-tuning.

    Attributes:
        folder: holds runs and results.
        trained: the networks trained by this call.
        best: by name, the folder of each network's best epoch.
        backbones: by name, the backbone that loads the best epoch, of each network of one view.
        notes: warnings for the user.
    """

    folder: RunFolder
    trained: list[Trained]
    best: dict[str, Path]
    backbones: dict[str, Spec]
    notes: list[str] = field(default_factory=list)


def finetune(
    config: FinetuneConfig,
    folder: Path,
    device: str = "cpu",
    provenance: dict[str, Any] | None = None,
    progress: TrainingProgress | None = None,
) -> Finetuned:
    """Fine-tune every network of a config, or resume an interrupted call for the same folder.

    Args:
        config: of the fine-tuning.
        folder: of the run. It holds results like the folder of a bench. A single network's run is in it, too; each of
            several networks has a folder in ``runs``.
        device: ``cpu`` or ``cuda:N``.
        provenance: versions and machine, for ``config.json`` and ``grid.json``.
        progress: receives steps, losses and dev scores. Default: none.

    Raises:
        ConfigError: if options do not fit together, or the folder holds another run or is in use.
        DataError: if the data are missing or too few, or every checkpoint is damaged.
        CellError: if the loss is not finite.
        StorageError: if the folder cannot be written.
    """
    undo = single_thread()
    try:
        return _finetune(config, RunFolder(folder), device, provenance or {}, progress or TrainingProgress())
    finally:
        undo()


def _finetune(
    config: FinetuneConfig, folder: RunFolder, device: str, provenance: dict[str, Any], progress: TrainingProgress
) -> Finetuned:
    planned = make_finetune_plan(config, device)
    folder.check(planned.plan)
    several = len(planned.works) > 1
    paths = {work.name: folder.path / RUNS / work.name if several else folder.path for work in planned.works}
    trained: list[Trained] = []
    for work in planned.works:
        path = paths[work.name]
        if folder.has_head(work.head.id) and check_artifact(path / BEST):
            continue
        run = FinetuneRun(config, work, path, device)
        with run.claimed():
            trained.append(run.carry_out(provenance, progress))
        if run.main:
            _store_head(config, folder, work, trained[-1])
        run.accelerator.wait_for_everyone()
    if is_main_process():
        _score(folder, planned.plan, provenance, progress)
    notes = list(dict.fromkeys([*planned.plan.notes, *(note for item in trained for note in item.notes)]))
    best = {name: path / BEST for name, path in paths.items()}
    files = {name: path / BACKBONE for name, path in best.items() if (path / BACKBONE).is_file()}
    kind = BACKBONES.get(config.backbone.name)
    backbones = {
        name: Spec(kind.loaded_by or config.backbone.name, kind.loading(str(file), config.backbone.options))
        for name, file in files.items()
    }
    return Finetuned(folder, trained, best, backbones, notes)


def _store_head(config: FinetuneConfig, folder: RunFolder, work: FinetuneWork, trained: Trained) -> None:
    """Store the network's logits like a head of a bench."""
    fold_data = work.fold_data
    cropped = any(view != FACE for view in work.views.values())
    about = {
        "views": list(work.views),
        "outputs": fold_data.task.outputs,
        "fusion": str(work.shape.spec),
        "recipe": config.recipe.describe(),
        "seed": work.seed,
        "record": work.head.record,
        "tasks": [each.described() for each in fold_data.members],
        "extractor": str(config.extractor) if cropped else None,
        "backbones": dict.fromkeys(work.views, str(config.backbone)),
        "prior": fold_data.prior.tolist(),
    }
    folder.write_head(work.head.id, trained.head, about, trained.cost)


def _score(folder: RunFolder, plan: Plan, provenance: dict[str, Any], progress: TrainingProgress) -> None:
    """Smooth and score like a bench. Only here are test labels read."""
    folder.add_plan(plan, provenance)
    grid = folder.load_grid()
    assert grid is not None
    records = {record["id"]: record for record in grid["rows"]}
    stored, store = StoredHeads(folder), EmbeddingStore(cache_folder())
    with progress.stage("score", len(plan.rows), "rows"):
        for row in plan.rows:
            scorer = RowScorer(row, records[row.id], stored, store, lambda: (0, 0.0), 0)
            with waiting_lease(folder.path / "leases" / f"score-{row.id}"):
                for _, task in scorer.tasks():
                    task()
            progress.advance()
