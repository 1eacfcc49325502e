"""Aff-Wild2 with the annotation of the ABAW expression challenge, as it comes from its authors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import UNLABELLED, Export, FaceDataset, FrameTable
from fusionkit.contracts.image_file import read_image
from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.affwild2_crops import Crops, index_crops
from fusionkit_datasets.affwild2_export import export_affwild2
from fusionkit_datasets.affwild2_labels import (
    CLASSES,
    LabelFile,
    find_annotations,
    find_test_list,
    listed_test_clips,
    read_annotations,
)
from fusionkit_datasets.class_map import ClassMap

FRAMES = ("cropped_aligned", "cropped_aligned_new_50_vids")

_NO_CROPS = Crops("", "", np.empty(0, np.int64), {})
_NO_LABELS = np.empty(0, np.int64)
_TOLD = 3  # problems that an error names; `fusionkit data check` shows all


@dataclass(frozen=True, eq=False)
class _Clip:
    """One clip: its annotation, None in the test set, and its crops."""

    name: str
    annotation: LabelFile | None
    crops: Crops

    @property
    def split(self) -> str:
        return self.annotation.split if self.annotation else "test"

    @property
    def video(self) -> str:
        """The raw video: several people of one video have a clip each, ``X``, ``X_left``, ``X_right``."""
        return self.name.removesuffix("_left").removesuffix("_right")

    def summary(self) -> str:
        digest = self.annotation.digest if self.annotation else ""
        return f"{self.split}/{self.name}\t{digest}\t{self.crops.summary()}"


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of one clip: (n,) frame numbers, labels, and whether there is a crop."""

    number: np.ndarray
    label: np.ndarray
    has_crop: np.ndarray


class AffWild2(FaceDataset):
    """Aff-Wild2 with the eight expressions of the ABAW challenge, in the layout in which its authors send it out.

    ``ROOT/<N>th ABAW Annotations/EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<clip>.txt`` (editions that call
    it ``EXPR_Classification_Challenge`` too) says the class of each frame; crops are ``<frame root>/<clip>/00001.jpg``.
    Line k after the header is frame k. Every annotation line and every crop is a row: a line without a crop is a frame
    without an image, a crop without a line is unlabelled, and so is -1. Nothing is shifted where the two differ in
    number, as they do in most clips. Train and val are those of the challenge; ``X``, ``X_left`` and ``X_right`` are
    people of one raw video, hence one unit.

    The data are given out on request for research; nothing is downloaded.

    Args:
        root: the folder; ``~`` is the home folder.
        frames: frame roots, names below the root or paths; of the two that are the default one is enough. The folders
            of clips may lie some folders further down, as in ``frames=cropped``.
        annotations: the folder of the annotation, where there are several editions or it lies elsewhere; empty: found.
        test: add the clips of the test set, unlabelled: those that
            ``names_of_videos_in_each_test_set/Expression_Recognition_Challenge_test_set_release.txt`` lists, else all
            that have crops and no annotation. They cost embedding and serve prediction only.
        every: use every n-th labelled frame of each train clip and no other one of it: neighbouring frames are nearly
            the same. Val and test stay whole, but dev is thinned too where it is carved from train.
        class_map: classes merged, renamed or left out, as ``{Anger:negative,Disgust:negative,Other:null}``.

    Raises:
        ConfigError: if an option is wrong.
        DataError: if folders are missing; when the table is asked for, if the annotation has lines that mean nothing.

    Reference:
        D. Kollias, S. Zafeiriou, Aff-Wild2: Extending the Aff-Wild Database for Affect Recognition, 2018,
        arXiv:1811.07770; D. Kollias et al., The 6th Affective Behavior Analysis in-the-wild (ABAW) Competition,
        CVPRW 2024, arXiv:2402.19344.
    """

    places: ClassVar[tuple[str, ...]] = ("root", "annotations")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is nothing to build without the data

    def __init__(
        self,
        root: str,
        frames: str | Sequence[str] = FRAMES,
        annotations: str = "",
        test: bool = False,
        every: int = 1,
        class_map: dict[str, str | None] | str | None = None,
    ) -> None:
        if every < 1:
            raise ConfigError(f"affwild2: every={every} must be 1 or more")
        self._every = every
        self._map = ClassMap.of(CLASSES, class_map, abaw={})
        top = Path(root).expanduser()
        folder = find_annotations(top, annotations)
        self._annotations = read_annotations(folder)
        roots = [frames] if isinstance(frames, str) else list(frames)
        index = index_crops(top, roots, all_needed=tuple(roots) != FRAMES)
        self._oddities = index.problems
        listed = listed_test_clips(top, folder) if test else []
        self._test_list = find_test_list(top, folder) if test else None
        self._clips = self._gathered(index.clips, listed)

    def _gathered(self, crops: dict[str, Crops], listed: list[str] | None) -> list[_Clip]:
        """All clips by name; ``listed`` are those of the test set, None where all without annotation are."""
        annotated = {file.clip: file for file in self._annotations}
        self._oddities += [
            f"{file.path}:1: clip {name!r} has no crops" for name, file in annotated.items() if name not in crops
        ]
        unlabelled = sorted(crops.keys() - annotated.keys()) if listed is None else listed
        for name in unlabelled:
            if name in annotated:
                self._oddities.append(f"{annotated[name].path}:1: clip {name!r} is listed in the test set too")
            elif name not in crops:
                self._oddities.append(f"clip {name!r} of the test set has no crops")
        tested = [_Clip(name, None, crops[name]) for name in unlabelled if name in crops and name not in annotated]
        labelled = [_Clip(name, file, crops.get(name, _NO_CROPS)) for name, file in annotated.items()]
        return sorted(labelled + tested, key=lambda clip: clip.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """The eight classes of the challenge in its order, or what ``class_map`` makes of them."""
        return self._map.classes

    @cached_property
    def frames(self) -> FrameTable:
        """The table: clips by name, frames by number.

        Raises:
            DataError: if annotation lines mean nothing; one error for all of them.
        """
        problems = [problem for file in self._annotations for problem in file.problems]
        if problems:
            more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
            raise DataError(
                f"affwild2: {len(problems)} problem(s) in the annotation: {'; '.join(problems[:_TOLD])}{more}",
                hint="fusionkit data check affwild2:root=... shows all",
            )
        lengths = [len(rows.number) for rows in self._rows]
        return FrameTable.of(
            clip=np.repeat([clip.name for clip in self._clips], lengths),
            number=np.concatenate([rows.number for rows in self._rows]),
            label=np.concatenate([rows.label for rows in self._rows]),
            split=np.repeat([clip.split for clip in self._clips], lengths),
            video=np.repeat([clip.video for clip in self._clips], lengths),
        )

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """The crops of some rows, RGB uint8 (H, W, 3); None where there is none or it cannot be decoded."""
        return [read_image(path) if path else None for path in map(self._path, rows.tolist())]

    def has_image(self) -> np.ndarray:
        """(N,) bool: whether a row has a crop."""
        return np.concatenate([rows.has_crop for rows in self._rows])

    def content(self) -> str:
        """A line a clip: split, name, hash of the annotation's bytes, frame numbers and some sizes of its crops.

        Sizes are asked of 16 crops a clip: of all 2.7 million they would cost seconds on a local disk, and on a shared
        one a request a file, in each worker. So other crops under the same names count as other data; a
        single file that is replaced may not be noticed.
        """
        return "\n".join(clip.summary() for clip in self._clips)

    def where(self, row: int) -> str:
        """The crop; where there is none, the annotation's line."""
        annotation = self._clips[self._clip_of(row)].annotation
        return self._path(row) or (f"{annotation.path}:{self.frames.number[row] + 1}" if annotation else "")

    def export(self, rows: np.ndarray) -> Export:
        """The annotation of the clips of these rows, and the same frame roots and file names."""
        at = np.searchsorted(self._starts, rows, side="right") - 1
        clips = [self._clips[place] for place in np.unique(at).tolist()]
        numbers = self.frames.number[rows]
        lines = np.array([len(clip.annotation.label) if clip.annotation else 0 for clip in self._clips])
        # A clip without crops gets a place among the others' all the same; there is nothing to put there.
        home = next((clip.crops.key.partition("/")[0] for clip in clips if clip.crops.key), FRAMES[0])
        folders = [clip.crops.key or f"{home}/{clip.name}" for clip in self._clips]
        return export_affwild2(
            [
                f"{folders[clip]}/{self._clips[clip].crops.name(number)}"
                for clip, number in zip(at.tolist(), numbers.tolist(), strict=True)
            ],
            (numbers >= 1) & (numbers <= lines[at]),
            [clip.annotation for clip in clips if clip.annotation],
            self._test_list if any(clip.annotation is None for clip in clips) else None,
        )

    def problems(self) -> Iterable[str]:
        """Lines of the annotation that mean nothing, and what is odd about folders and crops."""
        for file in self._annotations:
            yield from file.problems
        yield from self._oddities

    @cached_property
    def _rows(self) -> list[_Rows]:
        return [self._rows_of(clip) for clip in self._clips]

    @cached_property
    def _starts(self) -> np.ndarray:
        """(clips,) the row at which each clip begins."""
        return np.cumsum([0, *(len(rows.number) for rows in self._rows[:-1])])

    def _rows_of(self, clip: _Clip) -> _Rows:
        given = self._map.apply(clip.annotation.label) if clip.annotation else _NO_LABELS
        annotated = np.arange(1, len(given) + 1)
        number = np.union1d(annotated, clip.crops.numbers)
        label = np.full(len(number), UNLABELLED)
        label[np.searchsorted(number, annotated)] = given
        has_crop = np.isin(number, clip.crops.numbers, assume_unique=True)
        if self._every > 1 and clip.split == "train":
            kept = np.flatnonzero(label != UNLABELLED)[:: self._every]
            return _Rows(number[kept], label[kept], has_crop[kept])
        return _Rows(number, label, has_crop)

    def _clip_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _path(self, row: int) -> str:
        """The file of a row's crop; empty where there is none."""
        at = self._clip_of(row)
        place = row - int(self._starts[at])
        rows = self._rows[at]
        return self._clips[at].crops.path(int(rows.number[place])) if rows.has_crop[place] else ""
