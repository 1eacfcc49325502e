"""Scoring: the rows of a plan are smoothed and scored one after the other, and each step is told of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fusionkit.engine.embed import shared_backbone
from fusionkit.errors import StorageError
from fusionkit.grid.memory import feature_limit, headroom
from fusionkit.grid.plan import HeadWork, RowPlan
from fusionkit.grid.row import RowScorer, StoredHeads
from fusionkit.grid.tasks import Failure
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.lease import waiting_lease

Watch = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Step:
    """How far scoring has come.

    Attributes:
        row: its place in the plan.
        state: a cell is ``begun``, then ``scored`` or ``failed``; a row is ``over``.
        cell: its id; empty where the step is of a row.
        failure: of a cell that failed.
        reused: cells of a row that stood ready.
    """

    row: int
    state: Literal["begun", "scored", "failed", "over"]
    cell: str = ""
    failure: Failure | None = None
    reused: int = 0


@dataclass(frozen=True)
class Scoring:
    """All that scoring needs.

    Attributes:
        rows: of the plan.
        records: the rows as ``grid.json`` holds them, by id.
        heads: of the run's folder.
        store: of the embeddings.
        memory: GiB of features that may be held; 0 for a share of what is available.
        fail_fast: end at the first failure.
    """

    rows: Sequence[RowPlan]
    records: Mapping[str, dict[str, Any]]
    heads: StoredHeads
    store: EmbeddingStore
    memory: float
    fail_fast: bool

    def steps(
        self, first: int = 0, skip: Collection[str] = (), watch: Watch = nullcontext
    ) -> Generator[Step, None, None]:
        """Score what lacks a score; a failure stays with its cell.

        Args:
            first: row to begin with.
            skip: cells to leave alone.
            watch: entered while a cell is made.

        Raises:
            StorageError: if results cannot be written.
        """
        memory = feature_limit(self.memory, 1, "cpu")
        cost = cache(lambda spec: shared_backbone(spec).cost())
        for number, row in enumerate(self.rows[first:], first):
            costs = _costs(row.heads[0], cost)
            scorer = RowScorer(row, self.records[row.id], self.heads, self.store, costs, memory)
            for step in self._cells(number, scorer, skip, watch):
                yield step
                if step.failure and self.fail_fast:
                    return
            yield Step(number, "over", reused=scorer.reused)

    def _cells(self, row: int, scorer: RowScorer, skip: Collection[str], watch: Watch) -> Iterator[Step]:
        with waiting_lease(self.heads.folder.path / "leases" / f"score-{self.rows[row].id}"):
            for cell, make in scorer.tasks():
                if cell in skip:
                    continue
                yield Step(row, "begun", cell)
                with watch():
                    failure = _attempt(make)
                yield Step(row, "failed" if failure else "scored", cell, failure)


def _attempt(make: Callable[[], None]) -> Failure | None:
    """Make a cell; an exception becomes a failure, and so does a plugin's ``sys.exit``."""
    try:
        make()
    except StorageError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  (what a smoother raises stays with its own cell)
        with headroom():
            return Failure.of(error)
    return None


def _costs(head: HeadWork, cost: Callable[[Spec], tuple[int, float]]) -> tuple[int, float]:
    """(parameters, GFLOP) of the backbones behind a head: weights count once, work once a view."""
    backbones = [embedding.backbone for embedding in head.embeddings.values() if embedding.backbone]
    return sum(cost(spec)[0] for spec in set(backbones)), sum(cost(spec)[1] for spec in backbones)
