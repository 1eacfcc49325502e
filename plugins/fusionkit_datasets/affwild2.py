"""Aff-Wild2 with the annotation of the ABAW challenges, in the original layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import UNLABELLED, Count, Export, FaceDataset, FrameTable, Labels, Positive
from fusionkit.contracts.image_file import read_image
from fusionkit.errors import ConfigError, DataError, expanded
from fusionkit.registry import did_you_mean
from fusionkit_datasets.affwild2_crops import Crops, index_crops
from fusionkit_datasets.affwild2_labels import (
    CHALLENGES,
    CLASSES,
    EXPR,
    Challenge,
    LabelFile,
    find_annotations,
    find_test_list,
    listed_test_clips,
    read_annotations,
    read_rates,
    read_subjects,
)
from fusionkit_datasets.affwild2_writer import ROOTS, annotation_folder, release_list
from fusionkit_datasets.class_map import ClassMap, ClassMapOption

_NO_CROPS = Crops("", "", np.empty(0, np.int64), {})
_SUBJECTS, _RATES = "subjects.csv", "rates.csv"  # in a copy of the data
_SHOWN = 3  # problems in the message of an error; `fusionkit data check` shows all


@dataclass(frozen=True, eq=False)
class _Clip:
    """One clip: its annotation by challenge, none in the test set, and its crops."""

    name: str
    annotations: Mapping[str, LabelFile]
    crops: Crops

    @property
    def split(self) -> str:
        return next((file.split for file in self.annotations.values()), "test")

    @property
    def video(self) -> str:
        """The raw video; several persons of one video have the clips ``X``, ``X_left``, ``X_right``."""
        return _video_of(self.name)

    @property
    def lines(self) -> int:
        """Annotated frames, from 1: those of the longest annotation."""
        return max((len(file.label) for file in self.annotations.values()), default=0)

    def subject(self, subjects: Mapping[str, str]) -> str:
        """The person of the clip, else that of its video; empty if unknown."""
        return subjects.get(self.name) or subjects.get(self.video, "")

    def content(self) -> str:
        digests = [f"{name} {file.digest}" for name, file in self.annotations.items()]
        # A file of expressions has no prefix: its results are older than the other challenges.
        digest = " ".join(digests).removeprefix(f"{EXPR.name} ")
        return f"{self.split}/{self.name}\t{digest}\t{self.crops.content()}"


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of one clip: (n,) frame numbers, expressions, and whether there is a crop."""

    number: np.ndarray
    label: np.ndarray
    has_crop: np.ndarray


class AffWild2(FaceDataset):
    """Aff-Wild2 with the labels of the ABAW challenges, in its original layout; by default the eight expressions.

    ``ROOT/<N>th ABAW Annotations/EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<clip>.txt`` (in some editions
    ``EXPR_Classification_Challenge``) has the class of each frame; crops are ``<frame root>/<clip>/00001.jpg``. Line k
    after the header is frame k. Every annotation line and every crop is a row: a line without a crop is a frame without
    an image, a crop without a line is unlabelled, and so is label -1. The numbers of lines and crops differ in most
    clips; nothing is shifted. Train and val are those of the challenge; ``X``, ``X_left`` and ``X_right`` are persons
    of one raw video, and so one unit (subject or video).

    The annotation of the other challenges is in ``AU_Detection_Challenge`` (12 action units, -1 unlabelled; task
    ``action-units``) and ``VA_Estimation_Challenge`` (valence and arousal, -5 unlabelled; task ``valence-arousal``),
    beside that of expressions. Each challenge has its own clips and its own split.

    The data are available on request for research; nothing is downloaded.

    Args:
        root: the folder; ``~`` is the home folder.
        frames: frame roots, names below the root or paths; one of the two defaults is enough. Folders of clips may be
            several levels further down, as with ``frames=cropped``.
        annotations: folder of the annotation, if there are several editions or it is elsewhere. Default: searched.
        challenges: ``EXPR``, ``AU``, ``VA``, or a list of them. The frames are those of all that are named. The split
            of a video is that of the first of them that has it. A challenge that has it in the other split is without
            its labels, so that no task is trained on its own val.
        test: add the clips of the test set, unlabelled: those in
            ``names_of_videos_in_each_test_set/Expression_Recognition_Challenge_test_set_release.txt`` (or the lists of
            the other challenges), else all with crops and without annotation. They are embedded too, and are used for
            prediction only.
        every: use every n-th labelled frame of each train clip, since neighbouring frames are almost equal; the other
            frames of the clip are left out. Val and test are complete, but a dev part taken from train is not.
        subjects: csv file with the columns ``video`` and ``subject``, a path, relative to the root: all videos (or
            clips) of one person are then one unit. Default: unknown, since the data do not name persons.
        class_map: rename, merge or remove classes: ``{Anger:negative,Disgust:negative,Other:null}``. Default:
            unchanged.
        rate: frames per second of all videos; or a csv file with the columns ``clip`` and ``rate``, a path, relative to
            the root, such as the ``coverage.csv`` of ``fusionkit align``; an empty rate is unknown. Default: unknown,
            since crops do not state it.

    Raises:
        ConfigError: if the class map is invalid, or a challenge unknown.
        DataError: if folders are missing, or the file of subjects or rates is wrong; when the table is made, if
            annotation lines are invalid.

    Reference:
        D. Kollias, S. Zafeiriou, Aff-Wild2: Extending the Aff-Wild Database for Affect Recognition, 2018,
        arXiv:1811.07770; D. Kollias et al., The 6th Affective Behavior Analysis in-the-wild (ABAW) Competition,
        CVPRW 2024, arXiv:2402.19344.
    """

    places: ClassVar[tuple[str, ...]] = ("root", "annotations", "subjects")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # data are needed to build it

    def __init__(
        self,
        root: str,
        frames: str | Sequence[str] = ROOTS,
        annotations: str = "",
        test: bool = False,
        every: Count = 1,
        subjects: str = "",
        class_map: ClassMapOption = None,
        challenges: str | Sequence[str] = EXPR.name,
        rate: Positive | str | None = None,
    ) -> None:
        self._every = every
        self._map = ClassMap.of(CLASSES, class_map)
        self._challenges = _named(challenges)
        top = expanded(root)
        alone = len(self._challenges) == 1
        folders = {each: find_annotations(top, annotations, each, alone=alone) for each in self._challenges}
        self._annotations = {each: read_annotations(folder, each) for each, folder in folders.items()}
        roots = [frames] if isinstance(frames, str) else list(frames)
        index = index_crops(top, roots, all_needed=tuple(roots) != ROOTS)
        self._oddities = index.problems
        self._test_lists: dict[Challenge, Path] = {}
        listed: dict[Challenge, list[str]] | None = {}
        if test:
            found = {each: find_test_list(top, folder, each) for each, folder in folders.items()}
            self._test_lists = {each: path for each, path in found.items() if path}
            listed = {each: listed_test_clips(path) for each, path in self._test_lists.items()} or None
        self._clips = self._all_clips(index.clips, listed)
        self._subject_file = top / expanded(subjects) if subjects else None
        self._subjects = read_subjects(self._subject_file) if self._subject_file else {}
        if self._subject_file:
            self._check_subjects(self._subject_file)
        self._rate_file = top / expanded(rate) if isinstance(rate, str) else None
        self._rates = read_rates(self._rate_file) if self._rate_file else {}
        self._rate = rate if isinstance(rate, int | float) else np.nan  # of all other clips

    def _all_clips(self, crops: dict[str, Crops], listed: dict[Challenge, list[str]] | None) -> list[_Clip]:
        """Return all clips by name; ``listed`` are those of test sets, None for all without annotation."""
        annotated: dict[str, dict[str, LabelFile]] = {}
        splits: dict[str, str] = {}  # video to split, by the challenges so far
        for challenge, files in self._annotations.items():
            agreed = [file for file in files if splits.get(_video_of(file.clip), file.split) == file.split]
            for file in agreed:
                annotated.setdefault(file.clip, {})[challenge.name] = file
                splits.setdefault(_video_of(file.clip), file.split)
                if file.clip not in crops:
                    self._oddities.append(f"{file.path}:1: clip {file.clip!r} has no crops")
        for challenge, names in (listed or {}).items():
            for name in names:
                if (known := annotated.get(name, {}).get(challenge.name)) is not None:
                    self._oddities.append(f"{known.path}:1: clip {name!r} is also in the list of the test set")
                elif name not in crops:
                    self._oddities.append(f"clip {name!r} of the test set has no crops")
        tested = crops.keys() if listed is None else {name for names in listed.values() for name in names}
        clips = [_Clip(name, {}, crops[name]) for name in tested if name in crops and name not in annotated]
        clips += [_Clip(name, files, crops.get(name, _NO_CROPS)) for name, files in annotated.items()]
        return sorted(clips, key=lambda clip: clip.name)

    def _check_subjects(self, path: Path) -> None:
        """Add a problem for clips without a subject.

        Raises:
            DataError: if no clip has one: the names are those of other videos.
        """
        unknown = [clip.name for clip in self._clips if not clip.subject(self._subjects)]
        if len(unknown) == len(self._clips):
            raise DataError(
                f"affwild2: {path} names no video of the data; it has {next(iter(self._subjects), 'no row')!r}, "
                f"the data {unknown[0]!r}"
            )
        if unknown:
            self._oddities.append(f"{path}: no subject for {len(unknown)} clip(s), such as {unknown[0]!r}")

    @property
    def classes(self) -> tuple[str, ...]:
        """The eight classes of the challenge in its order, mapped."""
        return self._map.classes

    @cached_property
    def frames(self) -> FrameTable:
        """The table: clips by name, frames by number.

        Raises:
            DataError: if annotation lines are invalid; one error for all of them.
        """
        problems = [problem for files in self._annotations.values() for file in files for problem in file.problems]
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise DataError(
                f"affwild2: {len(problems)} problem(s) in the annotation: {'; '.join(problems[:_SHOWN])}{more}",
                hint="fusionkit data check affwild2:root=... shows all",
            )
        lengths = [len(rows.number) for rows in self._rows]
        return FrameTable.of(
            clip=np.repeat([clip.name for clip in self._clips], lengths),
            number=np.concatenate([rows.number for rows in self._rows]),
            label=np.concatenate([rows.label for rows in self._rows]),
            subject=np.repeat([clip.subject(self._subjects) for clip in self._clips], lengths),
            split=np.repeat([clip.split for clip in self._clips], lengths),
            video=np.repeat([clip.video for clip in self._clips], lengths),
            rate=np.repeat([self._rate_of(clip) for clip in self._clips], lengths),
        )

    def labels(self, task: str) -> Labels | None:
        """Return the labels of one of the named challenges; None for a task of none of them."""
        challenge = next((each for each in self._challenges if each.task == task), None)
        if challenge is None or challenge is EXPR:
            return super().labels(task) if challenge else None
        values = [np.full((len(rows.number), len(challenge.parts)), np.nan, np.float32) for rows in self._rows]
        for clip, rows, labels in zip(self._clips, self._rows, values, strict=True):
            if (file := clip.annotations.get(challenge.name)) is not None:
                there = np.flatnonzero((rows.number >= 1) & (rows.number <= len(file.label)))
                labels[there] = file.label[rows.number[there] - 1]
        return Labels(challenge.parts, np.concatenate(values))

    def labels_hint(self, task: str) -> str:
        """Return the challenge that has labels of a task."""
        named = [each.name for each in self._challenges]
        found = next((each.name for each in CHALLENGES.values() if each.task == task and each.name not in named), "")
        return f"add challenge {found}: challenges=[{','.join([*named, found])}]" if found else ""

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return crops, RGB uint8 (H, W, 3); None for a crop that is missing or cannot be decoded."""
        return [read_image(path) if path else None for path in map(self._path, rows.tolist())]

    def has_image(self) -> np.ndarray:
        """Return (N,) bool: rows with a crop."""
        return np.concatenate([rows.has_crop for rows in self._rows])

    def content(self) -> str:
        """Return one line per clip: split, name, hash of the annotation, and names of its crops."""
        return "\n".join(clip.content() for clip in self._clips)

    def image_files(self, rows: np.ndarray) -> Iterator[str]:
        """Yield the crop of each row; an empty name where there is none."""
        clip_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        columns = clip_of_row, self.frames.number[rows], self.has_image()[rows]
        for clip, number, has_crop in zip(*(column.tolist() for column in columns), strict=True):
            yield self._clips[clip].crops.path(number) if has_crop else ""

    def where(self, row: int) -> str:
        """Return the crop; without a crop, the line of the annotation."""
        files, number = self._clips[self._clip_of(row)].annotations.values(), self.frames.number[row]
        lines = (f"{file.path}:{number + 1}" for file in files if number <= len(file.label))
        return self._path(row) or next(lines, "")

    def export(self, rows: np.ndarray) -> Export:
        """Return the annotation of the clips of these rows, and the same frame roots and file names."""
        clip_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        clips = [self._clips[index] for index in np.unique(clip_of_row).tolist()]
        numbers = self.frames.number[rows]
        # A clip without crops gets a folder beside those of the others; no image is written there.
        default = next((clip.crops.key.partition("/")[0] for clip in clips if clip.crops.key), ROOTS[0])
        folders = [clip.crops.key or f"{default}/{clip.name}" for clip in self._clips]
        crops = [
            f"{folders[clip]}/{self._clips[clip].crops.name(number)}"
            for clip, number in zip(clip_of_row.tolist(), numbers.tolist(), strict=True)
        ]
        lines = np.array([clip.lines for clip in self._clips])
        files: dict[str, Path] = {}
        for clip in clips:
            for name, file in clip.annotations.items():
                path = Path(file.path)
                files[f"{annotation_folder(CHALLENGES[name])}/{path.parent.name}/{path.name}"] = path
        if not all(clip.annotations for clip in clips):
            files |= {release_list(challenge): path for challenge, path in self._test_lists.items()}
        roots = sorted({crop.partition("/")[0] for crop in crops})
        annotated = (numbers >= 1) & (numbers <= lines[clip_of_row])
        options: dict[str, Any] = {"frames": None if set(roots) <= set(ROOTS) else roots}
        if self._subject_file:
            files[_SUBJECTS] = self._subject_file
            options["subjects"] = _SUBJECTS
        if self._rate_file:
            files[_RATES] = self._rate_file
            options["rate"] = _RATES
        return Export(crops, annotated, files, options)

    def problems(self) -> Iterable[str]:
        """Yield invalid lines of the annotation, and problems of folders and crops."""
        for files in self._annotations.values():
            for file in files:
                yield from file.problems
        yield from self._oddities

    @cached_property
    def _rows(self) -> list[_Rows]:
        return [self._rows_of(clip) for clip in self._clips]

    @cached_property
    def _starts(self) -> np.ndarray:
        """(clips,) first row of each clip."""
        return np.cumsum([0, *(len(rows.number) for rows in self._rows[:-1])])

    def _rows_of(self, clip: _Clip) -> _Rows:
        annotated = np.arange(1, clip.lines + 1)
        number = np.union1d(annotated, clip.crops.numbers)
        expressions = clip.annotations.get(EXPR.name)
        label = np.full(len(number), UNLABELLED)
        if expressions:
            given = self._map.apply(expressions.label)
            label[np.searchsorted(number, annotated[: len(given)])] = given
        has_crop = np.isin(number, clip.crops.numbers, assume_unique=True)
        if self._every > 1 and clip.split == "train":
            labelled = label != UNLABELLED
            for file in clip.annotations.values():
                if file is not expressions:
                    known = ~np.isnan(file.label).all(1)
                    labelled[np.searchsorted(number, annotated[: len(known)][known])] = True
            kept = np.flatnonzero(labelled)[:: self._every]
            return _Rows(number[kept], label[kept], has_crop[kept])
        return _Rows(number, label, has_crop)

    def _rate_of(self, clip: _Clip) -> float:
        return self._rates.get(clip.name, self._rates.get(clip.video, self._rate))

    def _clip_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _path(self, row: int) -> str:
        """Return the file of a row's crop; empty if there is none."""
        clip = self._clip_of(row)
        rows, index = self._rows[clip], row - int(self._starts[clip])
        return self._clips[clip].crops.path(int(rows.number[index])) if rows.has_crop[index] else ""


def _video_of(clip: str) -> str:
    return clip.removesuffix("_left").removesuffix("_right")


def _named(option: str | Sequence[str]) -> list[Challenge]:
    """Return the challenges that an option names.

    Raises:
        ConfigError: if one is unknown or named twice, or there is none.
    """
    names = [option] if isinstance(option, str) else list(option)
    for name in names:
        if name not in CHALLENGES:
            known = f"{did_you_mean(str(name), CHALLENGES)}; known: {', '.join(CHALLENGES)}"
            raise ConfigError(
                f"affwild2: unknown challenge {name!r}{known}", hint="challenges=AU or challenges=[EXPR,VA]"
            )
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"affwild2: challenges={option!r} must be different names of {', '.join(CHALLENGES)}")
    return [CHALLENGES[name] for name in names]
