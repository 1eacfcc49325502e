"""Source: a data set, built and checked, optionally limited to some frames per split."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.config.splits import Composites
from fusionkit.contracts.dataset import UNLABELLED, FaceDataset, FrameTable
from fusionkit.contracts.inputs import errors_of
from fusionkit.errors import ConfigError, DataError, expanded
from fusionkit.registry import DATASETS
from fusionkit.registry.options import defaults_filled
from fusionkit.registry.source import source_digest
from fusionkit.registry.spec import Spec
from fusionkit.storage.file_index import data_fingerprint
from fusionkit.storage.identity import canonical, digest, nested_identities
from fusionkit.storage.record import Record, component_record


@dataclass(frozen=True, eq=False)
class Source:
    """A data set and the rows of it that are used.

    Attributes:
        spec: name and options of the data set.
        dataset: the built component.
        rows: (N,) int64, rows of the data set's own table, ascending.
        table: of these rows.
    """

    spec: Spec
    dataset: FaceDataset
    rows: np.ndarray
    table: FrameTable

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.dataset.classes

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the data, of the code that reads or draws them, of the rows, and of the images of these rows."""
        cls, nested = type(self.dataset), nested_identities(DATASETS, self.spec)
        with errors_of(f"data set {self.spec}"):
            data = data_fingerprint(self.dataset, self.rows)
        whole = digest([data, cls.revision, source_digest(cls), *([nested] if nested else [])])
        return whole if len(self.rows) == len(self.dataset.frames) else digest([whole, self.table.digest()])

    @cached_property
    def record(self) -> Record:
        """Record of the component, with the data: fingerprint, table, and number of frames, chosen and in all (``of``).

        Its location is noted too, so that a change of the data can be told from other data.
        """
        record = component_record(DATASETS, self.spec)
        record["options"] = {name: _plain(value) for name, value in record["options"].items()}
        whole = len(self.table) == len(self.dataset.frames)
        return {
            **record,
            "places": _places(self.spec),
            "fingerprint": self.fingerprint,
            "table": (self.table if whole else self.dataset.frames).digest(),
            "frames": len(self.table),
            "of": len(self.dataset.frames),
        }

    def take(self, rows: np.ndarray) -> Source:
        """Return the source of some rows, ascending; it has another fingerprint."""
        return replace(self, rows=self.rows[rows], table=self.table.take(rows))

    def composites(self) -> Composites | None:
        """Return the composed frames among the rows; None if there are none.

        Raises:
            DataError: if ``composed_of`` does not have one line of valid rows for each frame.
        """
        with errors_of(f"data set {self.spec}"):
            made_of = self.dataset.composed_of()
        if made_of is None:
            return None
        unit = self.dataset.table().unit
        if made_of.ndim != 2 or len(made_of) != len(unit) or not ((made_of >= -1) & (made_of < len(unit))).all():
            raise DataError(
                f"data set {self.spec}: composed_of must return one line of row numbers for each of {len(unit)} frames"
            )
        chosen = made_of[self.rows]
        rows = np.flatnonzero((chosen >= 0).any(1))
        return Composites(rows, np.where(chosen[rows] >= 0, unit[chosen[rows]], ""))

    def where(self, row: int) -> str:
        """Return the name of a row, for messages."""
        return self.dataset.where(int(self.rows[row]))

    def images(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Read the images of some rows; None where there is no image."""
        return self.dataset.images(self.rows[rows])


def open_source(spec: Spec, limit: int | None) -> Source:
    """Build a data set and check its table.

    Raises:
        ConfigError: if the options are refused.
        DataError: if the data are missing, empty or inconsistent.
    """
    dataset: FaceDataset = DATASETS.build(spec)
    with errors_of(f"data set {spec}"):
        table = dataset.table()
    source = Source(spec, dataset, np.arange(len(table)), table)
    return source if limit is None else source.take(limited(table, limit))


def limited(table: FrameTable, limit: int) -> np.ndarray:
    """Choose about ``limit`` frames of each split: whole clips, the classes in turn.

    Every class of a split keeps at least one clip, even above the limit.

    Returns:
        (n,) int64 rows, ascending.
    """
    kept: list[np.ndarray] = []
    for split in np.unique(table.split):
        rows = np.flatnonzero(table.split == split)
        kept.append(rows if len(rows) <= limit else _whole_clips(table, rows, limit))
    return np.sort(np.concatenate(kept))


def _whole_clips(table: FrameTable, rows: np.ndarray, limit: int) -> np.ndarray:
    names, codes = np.unique(table.clip[rows], return_inverse=True)
    labels = table.label[rows]
    classes = max(int(table.label.max()) + 1, 1)  # a table without labels is refused later, by the split
    counts = np.zeros((len(names), classes + 1), dtype=int)
    np.add.at(counts, (codes, np.where(labels == UNLABELLED, classes, labels)), 1)
    # A clip is assigned to the class of which it holds the largest share. The shuffle has a fixed seed, like a split.
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


def _places(spec: Spec) -> dict[str, str]:
    """Absolute location of the data by option, and by ``option.option`` that of a data set within an option."""
    cls = DATASETS.get(spec.name)
    filled = defaults_filled(cls, spec.options)
    found = {name: _absolute(filled[name]) for name in cls.places if filled.get(name)}
    for option in (name for name, kind in cls.nested.items() if kind == "dataset"):
        found |= {f"{option}.{name}": place for name, place in _places(Spec.of(filled[option])).items()}
    return found


def _absolute(place: Any) -> str:
    return str(expanded(place).absolute()) if isinstance(place, (str, Path)) else str(place)


def _plain(value: Any) -> Any:
    """Return a value as JSON restores it, or its repr: a default is not hashed, so it need not be plain data."""
    try:
        return json.loads(canonical(value))
    except ConfigError:
        return repr(value)
