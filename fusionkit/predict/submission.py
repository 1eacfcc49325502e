"""The files of a challenge submission: its template, the predictions as it wants them, and what may be wrong in them.

Rows are read as a stream; what is kept of a row are a few bytes, so that a million of them are no matter.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fusionkit.data.layouts import check_free, new_folder
from fusionkit.engine.smooth import clips
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.predict.predictor import Predictor
from fusionkit.registry import DATASETS
from fusionkit.registry.options import options_of
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import write_file

_DIGITS = 8  # of a frame number: more would be a month of video
_HINT = "a header as image_location,Neutral,Anger,... and then rows as clip/00001.jpg,0"


@dataclass(frozen=True, eq=False)
class Template:
    """What a submission must hold: a row a frame, in the order of the challenge's example file.

    Attributes:
        header: the first line, as it is written.
        classes: its class names; a prediction is a class's place among them.
        clips: names, in the order in which they first appear.
        clip: (n,) int32, which of them a row is of.
        number: (n,) int64, the frame number of a row.
        line: (n,) int32, where it stands, from 1.
    """

    path: Path
    header: str
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    clip: np.ndarray
    number: np.ndarray
    line: np.ndarray

    def __len__(self) -> int:
        return len(self.clip)

    @cached_property
    def rows_of(self) -> dict[str, np.ndarray]:
        """By clip, its rows, in the order of the template."""
        order = np.argsort(self.clip, kind="stable")
        edges = np.searchsorted(self.clip[order], np.arange(1, len(self.clips)))
        return dict(zip(self.clips, np.split(order, edges), strict=True))

    def frames_of(self, *, whole: bool) -> dict[str, np.ndarray]:
        """By clip, the frame numbers of its rows, in the template's order; ``whole``: 1 to the last of them instead."""
        found = {name: self.number[rows] for name, rows in self.rows_of.items()}
        return {name: np.arange(1, int(item.max()) + 1) for name, item in found.items()} if whole else found

    def locations(self) -> Iterator[str]:
        """The text of each row up to its comma, in order."""
        return (location for _, location, _ in read_rows(self.path))


def read_template(path: Path) -> Template:
    """Read a template; the values of its rows do not matter.

    Raises:
        DataError: if it is no template, or names a frame twice.
    """
    header = _header(path)
    classes = tuple(name.strip() for name in header.split(",")[1:])
    if len(classes) < 2 or len(set(map(str.casefold, classes))) < len(classes):
        raise DataError(f"{path}:1: {header[:80]!r} names no classes", hint=_HINT)
    codes: dict[str, int] = {}
    clip, number, lines = array("i"), array("q"), array("i")
    for line, location, _ in read_rows(path):
        name, _, image = location.rpartition("/")
        stem = image.partition(".")[0]
        if not (_names_clip(name) and stem.isascii() and stem.isdigit() and len(stem) <= _DIGITS):
            raise DataError(f"{path}:{line}: {location[:80]!r} names no clip and frame", hint=_HINT)
        clip.append(codes.setdefault(name, len(codes)))
        number.append(int(stem))
        lines.append(line)
    template = Template(
        path, header, classes, tuple(codes), np.array(clip, np.int32), np.array(number), np.array(lines, np.int32)
    )
    _refuse_doubles(template)
    return template


def _names_clip(name: str) -> bool:
    """Whether a file can be called so that stays in the folder of a submission of a file a clip."""
    return name.isprintable() and all(part not in ("", ".", "..") for part in name.split("/"))


def _refuse_doubles(template: Template) -> None:
    if not len(template):
        raise DataError(f"{template.path} has no rows", hint=_HINT)
    order = np.lexsort((template.number, template.clip))
    same = (np.diff(template.clip[order]) == 0) & (np.diff(template.number[order]) == 0)
    if same.any():
        first, second = (int(template.line[row]) for row in order[np.argmax(same) :][:2])
        raise DataError(f"{template.path}:{second}: the frame stands on line {first} already")


def class_order(ours: Sequence[str], theirs: Sequence[str]) -> np.ndarray:
    """(C,) the place of each of our classes among theirs; names are compared without regard to case.

    Raises:
        ConfigError: if either has a class that the other lacks.
    """
    places = {name.casefold(): place for place, name in enumerate(theirs)}
    lacking = [name for name in theirs if name.casefold() not in {own.casefold() for own in ours}]
    more = [name for name in ours if name.casefold() not in places]
    if lacking or more:
        told = [f"{what} {', '.join(names)}" for what, names in (("lacks", lacking), ("has also", more)) if names]
        raise ConfigError(f"the cell's classes are not those of the template: it {' and '.join(told)}")
    return np.array([places[name.casefold()] for name in ours])


def check_place(out: Path, template: Template | None, *, per_video: bool) -> None:
    """Refuse a place that cannot become a submission, before anything is computed.

    Raises:
        ConfigError: if it is the template, or is taken.
    """
    if per_video:
        check_free(out)
    elif out.is_dir():
        raise ConfigError(f"{out} is a folder", hint="name the file to write")
    elif template and out.exists() and out.samefile(template.path):
        raise ConfigError(f"{out} is the template", hint="write to another file")


def write_rows(template: Template, predicted: Mapping[str, np.ndarray], out: Path) -> None:
    """Write one file with every row of the template, as the sixth and later editions want it; whole or not at all.

    Args:
        template: says which rows, in which order.
        predicted: class numbers by clip, of the frames that :meth:`Template.frames_of` names.
        out: the file.

    Raises:
        StorageError: if it cannot be written.
    """
    values = np.empty(len(template), np.int64)
    for name, rows in template.rows_of.items():
        values[rows] = predicted[name]
    lines = bytearray(f"{template.header}\n", "utf-8")
    for location, value in zip(template.locations(), values.tolist(), strict=True):
        lines += f"{location},{value}\n".encode()
    write_file(out, bytes(lines))


def write_per_video(classes: Sequence[str], clips: Mapping[str, np.ndarray], out: Path) -> None:
    """Write a file a clip, as editions before the sixth want it: the class names, then line k for frame k.

    Args:
        classes: for the header.
        clips: (T,) class numbers of frames 1 to T, by clip.
        out: the folder; new or empty. It is there when it is whole.

    Raises:
        ConfigError: if something is there.
        StorageError: if it cannot be written.
    """
    with new_folder(out) as folder:
        for name, predicted in clips.items():
            file = folder / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([",".join(classes), *map(str, predicted.tolist()), ""]), encoding="utf-8")


def read_rows(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line number, what stands before the first comma and what behind it (None: no comma), of each row.

    Blank lines are passed over; the first line is the header.

    Raises:
        DataError: if it cannot be read as text.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            next(stream, None)
            for line, text in enumerate(stream, 2):
                location, comma, value = text.rstrip("\n").partition(",")
                if location or comma:
                    yield line, location, value if comma else None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _header(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return next(stream, "").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def submission_faults(path: Path, template: Template) -> Iterator[str]:
    """Everything in which a file is not what the template asks for, ``path:line: what``; rows that lack come last.

    Raises:
        DataError: if it cannot be read as text.
    """
    if (header := _header(path)) != template.header:
        yield f"{path}:1: the header is {header[:120]!r}, not {template.header!r}"
    places = {location: place for place, location in enumerate(template.locations())}
    found_on = np.zeros(len(template), np.int32)  # line of the file by row of the template; 0 for none
    last = -1
    for line, location, value in read_rows(path):
        place = places.get(location, -1)
        if place < 0:
            yield f"{path}:{line}: {location[:120]!r} is not in the template"
            continue
        if fault := _value_fault(value, len(template.classes)):
            yield f"{path}:{line}: {fault}"
        if found_on[place]:
            yield f"{path}:{line}: {location!r} stands on line {found_on[place]} already"
            continue
        found_on[place] = line
        if place < last:
            yield f"{path}:{line}: {location!r} is out of order: line {template.line[place]} of the template"
        last = place
    yield from _missing(path, template, places, found_on)


def _missing(path: Path, template: Template, places: Iterable[str], found_on: np.ndarray) -> Iterator[str]:
    for location, line, found in zip(places, template.line.tolist(), found_on.tolist(), strict=True):
        if not found:
            yield f"{template.path}:{line}: {location!r} has no row in {path}"


def _value_fault(value: str | None, classes: int) -> str:
    if value is None:
        return "there is no comma and no class number"
    if value.isascii() and value.isdigit() and len(value) <= _DIGITS and int(value) < classes:
        return ""
    return f"{value[:40]!r} is no class number from 0 to {classes - 1}"


@dataclass(frozen=True, eq=False)
class SubmissionResult:
    """What a cell says of the frames of a challenge.

    Attributes:
        predicted: (T,) class numbers of the frames that were asked for, by clip.
        imputed: how many of them have no view, in clips that have some.
        unseen: how many are in clips without any view: they get the class that training has most frames of.
    """

    predicted: dict[str, np.ndarray]
    imputed: int
    unseen: int

    @property
    def frames(self) -> int:
        """How many were asked for."""
        return sum(map(len, self.predicted.values()))


def with_test_clips(dataset: Spec) -> Spec:
    """The data set with its test clips, as its option ``test`` adds them.

    Raises:
        ConfigError: if it has no such switch.
    """
    option = options_of(DATASETS.get(dataset.name)).get("test")
    if option is None or not isinstance(option.default, bool):
        raise ConfigError(
            f"data set {dataset.name} has no option that adds a test set", hint="name the frames: --dataset"
        )
    return Spec(dataset.name, {**dataset.options, "test": True})


def answer(
    predictor: Predictor,
    classes: Sequence[str],
    wanted: Mapping[str, np.ndarray],
    source: Source,
    progress: Progress,
) -> SubmissionResult:
    """Predict some frames of some clips.

    Clips are smoothed over all their frames in the data set, whether they are asked for or not; then the frames are
    read off by number, and imputed where the data set has no image of them.

    Args:
        predictor: of the cell.
        classes: names, in the order of the numbers that are wanted.
        wanted: (T,) frame numbers by clip, in any order.
        source: the data set that has them.
        progress: told of the frames.

    Raises:
        ConfigError: if the cell's classes are others.
        DataError: if the data set has none of the clips.
        FusionKitError: if a component fails.
    """
    order = class_order(predictor.classes, classes)
    spans = [span for span in clips(source.table) if str(source.table.clip[span.start]) in wanted]
    if not spans:
        raise DataError(f"data set {source.spec} has none of the clips, {next(iter(wanted))!r} for one")
    rows = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    found = predictor.predict_dataset(source.take(rows), progress=progress)
    predicted, imputed, unseen = {}, 0, 0
    for clip, numbers in wanted.items():
        probs, seen = found.at(clip, numbers)
        predicted[clip] = order[probs.argmax(1)]
        if found.has(clip):
            imputed += int((~seen).sum())
        else:
            unseen += len(numbers)
    return SubmissionResult(predicted, imputed, unseen)


def all_test_frames(source: Source) -> dict[str, np.ndarray]:
    """Frames 1 to the last one of each clip of the test split, by clip.

    Raises:
        DataError: if there is no test split.
    """
    table = source.table
    found = {
        str(table.clip[span.start]): np.arange(1, int(table.number[span.stop - 1]) + 1)
        for span in clips(table)
        if table.split[span.start] == "test"
    }
    if not found:
        raise DataError(f"data set {source.spec} has no test split", hint="a template says which frames are asked for")
    return found
