"""Stage 2: backbones learn expressions from labelled views, one view by itself or several joined at some position."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.config.views import FACE
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.row import RowScorer, StoredHeads
from fusionkit.grid.tasks import single_thread
from fusionkit.storage.artifact import check_artifact
from fusionkit.storage.embeddings import EmbeddingStore, cache_folder
from fusionkit.storage.lease import waiting_lease
from fusionkit.training.evaluation import TrainingListener
from fusionkit.training.finetune_config import FinetuneConfig
from fusionkit.training.finetune_plan import FinetunePlan, FinetuneWork, lay_out
from fusionkit.training.finetune_run import BEST, FinetuneRun, Trained
from fusionkit.training.processes import speaks

RUNS = "runs"  # where the runs of several networks lie


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What a fine-tuning has come to.

    Attributes:
        folder: holds runs and results.
        trained: the networks that were trained now.
        best: the folder of the kept epoch of every network, by its name.
        notes: what the user should know.
    """

    folder: RunFolder
    trained: list[Trained]
    best: dict[str, Path]
    notes: list[str] = field(default_factory=list)


def finetune(
    config: FinetuneConfig,
    folder: Path,
    device: str = "cpu",
    provenance: dict[str, Any] | None = None,
    progress: Progress | None = None,
    listener: TrainingListener | None = None,
) -> Finetuned:
    """Fine-tune every network of a config, or go on where an earlier call for the same folder was interrupted.

    Args:
        config: what to train.
        folder: of the run. Results are in it as in the folder of a bench, and so is a lone network's run; of several
            networks each has a folder in ``runs``.
        device: ``cpu`` or ``cuda:N``.
        provenance: with what it is run, to be noted.
        progress: told of the steps.
        listener: told of losses and of scores on dev.

    Raises:
        ConfigError: if something does not go together, or the folder holds another run or is in use.
        DataError: if the data are missing or too few, or every checkpoint is damaged.
        CellError: if the loss is no longer finite.
        StorageError: if the folder cannot be written.
    """
    undo = single_thread()
    try:
        return _Finetuning(config, RunFolder(folder), device, provenance or {}).carry_out(
            progress or Progress(), listener or TrainingListener()
        )
    finally:
        undo()


class _Finetuning:
    """All networks of one config in this process."""

    def __init__(self, config: FinetuneConfig, folder: RunFolder, device: str, provenance: dict[str, Any]) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.provenance = provenance
        self.laid_out: FinetunePlan = lay_out(config, device)
        folder.check(self.laid_out.plan)

    def carry_out(self, progress: Progress, listener: TrainingListener) -> Finetuned:
        works = self.laid_out.works
        trained: list[Trained] = []
        for work in works:
            if self.folder.has_head(work.head.id) and check_artifact(self._place(work) / BEST):
                continue
            run = FinetuneRun(self.config, work, self._place(work), self.device)
            with run.claimed():
                trained.append(run.carry_out(self.provenance, progress, listener))
            if run.main:
                self._store(work, trained[-1])
            run.accelerator.wait_for_everyone()
        if speaks():
            self._score(self.laid_out.plan, progress)
        best = {work.name: self._place(work) / BEST for work in works}
        notes = [*self.laid_out.plan.notes, *(note for item in trained for note in item.notes)]
        return Finetuned(self.folder, trained, best, notes)

    def _place(self, work: FinetuneWork) -> Path:
        return self.folder.path if len(self.laid_out.works) == 1 else self.folder.path / RUNS / work.name

    def _store(self, work: FinetuneWork, trained: Trained) -> None:
        """The network's logits, as a head of a bench is stored."""
        config, fold_data = self.config, work.fold_data
        cut_out = any(view != FACE for view in work.views.values())
        about = {
            "views": list(work.views),
            "classes": fold_data.task.num_classes,
            "fusion": str(work.shape.spec),
            "recipe": config.recipe.describe(),
            "seed": work.seed,
            "record": work.head.record,
            "class_names": list(fold_data.source.classes),
            "extractor": str(config.extractor) if cut_out else None,
            "backbones": dict.fromkeys(work.views, str(config.backbone)),
            "train_counts": np.bincount(fold_data.rows.train_label, minlength=fold_data.task.num_classes).tolist(),
        }
        self.folder.write_head(work.head.id, trained.head, about, trained.cost)

    def _score(self, plan: Plan, progress: Progress) -> None:
        """Smooth and score as a bench does; test labels are opened there alone."""
        self.folder.merge(plan, self.provenance)
        grid = self.folder.load_grid()
        assert grid is not None
        records = {record["id"]: record for record in grid["rows"]}
        stored, store = StoredHeads(self.folder), EmbeddingStore(cache_folder())
        with progress.stage("score", len(plan.rows), "rows"):
            for row in plan.rows:
                scorer = RowScorer(row, records[row.id], stored, store, (0, 0.0), 0)
                with waiting_lease(self.folder.path / "leases" / f"score-{row.id}"):
                    for _, task in scorer.tasks():
                        task()
                progress.advance()
