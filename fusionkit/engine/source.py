"""A data set as the engine sees it: built, its table checked, cut down to ``limit`` frames a split if asked."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from fusionkit.config.splits import Composites
from fusionkit.contracts.dataset import UNLABELLED, FaceDataset, FrameTable
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import canonical, digest, nested_identities, source_digest
from fusionkit.storage.record import Record, component_record


@dataclass(frozen=True, eq=False)
class Source:
    """A data set and the rows of it that take part.

    Attributes:
        spec: what was asked for.
        dataset: the built component.
        rows: (N,) int64, rows of the data set's own table, rising.
        table: (N,) the table of these rows.
        fingerprint: identity of the data and of the choice of rows.
    """

    spec: Spec
    dataset: FaceDataset
    rows: np.ndarray
    table: FrameTable
    fingerprint: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.dataset.classes

    def take(self, rows: np.ndarray) -> Source:
        """Some of the rows, rising: data of another identity."""
        table = self.table.take(rows)
        return replace(self, rows=self.rows[rows], table=table, fingerprint=digest([self.fingerprint, table.digest()]))

    def composites(self) -> Composites | None:
        """The made-up frames among the rows; None where all are real.

        Raises:
            DataError: if the data set does not say for each row what it was made of.
        """
        made_of = self.dataset.composed_of()
        if made_of is None:
            return None
        unit = self.dataset.table().unit
        if made_of.ndim != 2 or len(made_of) != len(unit) or not ((made_of >= -1) & (made_of < len(unit))).all():
            raise DataError(
                f"data set {self.spec}: composed_of must give rows, one line for each of {len(unit)} frames"
            )
        chosen = made_of[self.rows]
        rows = np.flatnonzero((chosen >= 0).any(1))
        return Composites(rows, np.where(chosen[rows] >= 0, unit[chosen[rows]], ""))

    def where(self, row: int) -> str:
        """How to name a row to a person."""
        return self.dataset.where(int(self.rows[row]))

    def images(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Images of rows of this source."""
        return self.dataset.images(self.rows[rows])


def open_source(spec: Spec, limit: int | None) -> Source:
    """Build a data set and check its table.

    Raises:
        ConfigError: if the options are refused.
        DataError: if the data are missing, empty or inconsistent.
    """
    dataset: FaceDataset = DATASETS.build(spec)
    table = dataset.table()
    # Code that reads or draws the data decides them as much as the files do.
    cls = type(dataset)
    nested = nested_identities(DATASETS, spec)
    fingerprint = digest(
        [dataset.fingerprint(), cls.revision, source_digest(cast("Hashable", cls)), *([nested] if nested else [])]
    )
    source = Source(spec, dataset, np.arange(len(table)), table, fingerprint)
    return source if limit is None else source.take(limited(table, limit))


def limited(table: FrameTable, limit: int) -> np.ndarray:
    """About ``limit`` frames of each split, by whole clips, the classes taken in turn: for trying things quickly.

    Every class of a split keeps at least one clip, whatever the limit.

    Returns:
        (n,) int64 rows, rising.
    """
    kept: list[np.ndarray] = []
    for split in np.unique(table.split):
        rows = np.flatnonzero(table.split == split)
        kept.append(rows if len(rows) <= limit else _whole_clips(table, rows, limit))
    return np.sort(np.concatenate(kept))


def _whole_clips(table: FrameTable, rows: np.ndarray, limit: int) -> np.ndarray:
    names, codes = np.unique(table.clip[rows], return_inverse=True)
    labels = table.label[rows]
    classes = max(int(table.label.max()) + 1, 1)  # where nothing is labelled, the split says so
    counts = np.zeros((len(names), classes + 1), dtype=int)
    np.add.at(counts, (codes, np.where(labels == UNLABELLED, classes, labels)), 1)
    # A clip counts for the class in which it stands out against the whole; the shuffle is fixed, like a split.
    share = counts[:, :classes] / np.maximum(counts[:, :classes].sum(0), 1)
    queues: dict[int, list[int]] = {}
    for clip in np.random.default_rng(0).permutation(len(names)).tolist():
        queues.setdefault(int(share[clip].argmax()), []).append(clip)
    chosen: list[int] = []
    frames, sizes = 0, np.bincount(codes)
    first_round = True
    while any(queues.values()) and (first_round or frames < limit):
        for queue in queues.values():
            if queue and (first_round or frames < limit):
                chosen.append(queue.pop())
                frames += int(sizes[chosen[-1]])
        first_round = False
    taken: np.ndarray = rows[np.isin(codes, chosen)]
    return taken


def data_record(source: Source) -> Record:
    """A data set's component with the fingerprint of its data, and how many frames of how many take part."""
    record = component_record(DATASETS, source.spec)
    record["options"] = {name: _plain(value) for name, value in record["options"].items()}
    return {
        **record,
        "fingerprint": source.fingerprint,
        "frames": len(source.table),
        "of": len(source.dataset.frames),
    }


def _plain(value: Any) -> Any:
    """A value as JSON would bring it back; a data set's defaults are never hashed, and need not be plain data."""
    try:
        return json.loads(canonical(value))
    except ConfigError:
        return repr(value)
