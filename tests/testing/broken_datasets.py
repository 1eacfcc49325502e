"""Data sets with one fault each, by the only check that fails."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from testing.good_plugins import GoodDataset

from fusionkit.contracts import Labels


class LabelOutOfRange(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._table.label[3] = 9


class NamelessClass(GoodDataset):
    @property
    def classes(self) -> tuple[str, ...]:
        return ("calm", "")


class ShortNumbers(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._table = replace(self._table, number=self._table.number.astype(np.int32))


class SameSubject(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._table = replace(self._table, subject=np.full(len(self.files), "Ada"))


class NewEachTime(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.mark = uuid.uuid4().hex

    def content(self) -> str:
        return self.mark


class KnowsItsPlace(GoodDataset):
    def content(self) -> str:
        return f"{super().content()} {self.root}"


class KnowsNoFiles(GoodDataset):
    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        return ()


class TupleOrList(GoodDataset):
    """Images in files.

    Args:
        kinds: some.

    Reference: a toy.
    """

    def __init__(self, root: str, kinds: Sequence[int] = (1,)) -> None:
        super().__init__(root)
        self.mark = type(kinds).__name__

    def content(self) -> str:
        return super().content() + self.mark


class RowsWithoutNames(GoodDataset):
    def where(self, row: int) -> str:
        return "a frame"


class NewProblems(GoodDataset):
    calls = 0

    def problems(self) -> Iterable[str]:
        self.calls += 1
        return [f"problem {self.calls}"]


class RelabelsEachTime(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._valence = np.random.default_rng(uuid.uuid4().int).uniform(-1, 1, (len(self._table), 1))

    def labels(self, task: str) -> Labels | None:
        return Labels(("valence",), self._valence) if task == "valence-arousal" else super().labels(task)


class UnitsOfSomeFrames(GoodDataset):
    def labels(self, task: str) -> Labels | None:
        units = np.ones((len(self._table) // 2, 2), np.float32)
        return Labels(("AU1", "AU2"), units) if task == "action-units" else super().labels(task)


class WholeVotes(GoodDataset):
    def labels(self, task: str) -> Labels | None:
        votes = np.ones((len(self._table), 2), np.int64)  # which cannot say that there are none
        return Labels(self.classes, votes) if task == "votes" else super().labels(task)


class ActiveByIntensity(GoodDataset):
    def labels(self, task: str) -> Labels | None:
        units = np.full((len(self._table), 2), 0.5, np.float32)  # 0 or 1 are allowed
        return Labels(("AU1", "AU2"), units) if task == "action-units" else super().labels(task)


class OtherExpressions(GoodDataset):
    def labels(self, task: str) -> Labels | None:
        return Labels(self.classes, 1 - self._table.label) if task == "expression" else None


class SourcesElsewhere(GoodDataset):
    def composed_of(self) -> np.ndarray | None:
        return np.full((len(self.files), 1), 999)


class Floats(GoodDataset):
    def image(self, row: int) -> Any:
        image = super().image(row)
        return None if image is None else image.astype(np.float32)


class InItsOwnOrder(GoodDataset):
    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        return super().read(np.sort(rows))


class NeedsARow(GoodDataset):
    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        rows[0]
        return super().read(rows)


class OwnNoise(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.noise = int(uuid.uuid4())

    def image(self, row: int) -> np.ndarray | None:
        image = super().image(row)
        noise = np.random.default_rng([self.noise, row]).integers(0, 9, (9, 9, 3), dtype=np.uint8)
        return None if image is None else image // 2 + noise[: image.shape[0], : image.shape[1]]


class LendsItsImages(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.kept = [super(LendsItsImages, self).image(row) for row in range(len(self.files))]

    def image(self, row: int) -> np.ndarray | None:
        return self.kept[row]


class DrawsTheLabel(GoodDataset):
    def image(self, row: int) -> np.ndarray | None:
        image = super().image(row)
        return None if image is None else image // 2 + np.uint8(1 + self.frames.label[row])


class BelievesItIsEmpty(GoodDataset):
    def has_image(self) -> np.ndarray | None:
        return np.zeros(len(self.files), dtype=bool)


class SeedsNumPy(GoodDataset):
    def __init__(self, root: str) -> None:
        np.random.seed(0)  # noqa: NPY002
        super().__init__(root)


class ShiftedLabels(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._table = replace(self._table, label=np.roll(self._table.label, 1))


class ClassesBySplit(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        other = self._table.split == "val"
        self._table = replace(self._table, label=np.where(other, 1 - self._table.label, self._table.label))


class RowsTwice(GoodDataset):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        again = replace(self._table, clip=np.char.add(self._table.clip, "-again"))
        both = {name: np.concatenate([getattr(self._table, name), getattr(again, name)]) for name in vars(again)}
        self._table, self.files = replace(again, **both), self.files * 2

    def composed_of(self) -> np.ndarray | None:
        return None


class ConstantContent(GoodDataset):
    def content(self) -> str:
        return "columns"


BROKEN: dict[str, type] = {
    "table_is_valid": LabelOutOfRange,
    "classes_have_names": NamelessClass,
    "columns_have_their_types": ShortNumbers,
    "units_stay_in_one_split": SameSubject,
    "fingerprint_is_stable": NewEachTime,
    "fingerprint_ignores_the_path": KnowsItsPlace,
    "spec_round_trip": TupleOrList,
    "rows_have_names": RowsWithoutNames,
    "problems_are_stable": NewProblems,
    "labels_of_tasks_are_valid": RelabelsEachTime,
    "composites_name_their_sources": SourcesElsewhere,
    "rows_can_be_read": Floats,
    "changed_images_are_noticed": KnowsNoFiles,
    "rows_in_any_order": InItsOwnOrder,
    "no_rows": NeedsARow,
    "same_row_same_image": OwnNoise,
    "images_are_not_shared": LendsItsImages,
    "labels_are_not_read": DrawsTheLabel,
    "has_image_is_right": BelievesItIsEmpty,
    "global_seed_is_not_set": SeedsNumPy,
    "labels_match_the_paths": ShiftedLabels,
    "rows_are_distinct": RowsTwice,
    "changed_annotations_are_noticed": ConstantContent,
}
MORE: list[tuple[str, type]] = [
    ("labels_match_the_paths", ClassesBySplit),
    *(
        ("labels_of_tasks_are_valid", cls)
        for cls in (UnitsOfSomeFrames, ActiveByIntensity, WholeVotes, OtherExpressions)
    ),
]
