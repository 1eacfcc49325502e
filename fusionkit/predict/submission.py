"""Submissions to a challenge: read its template, predict its frames, write the files, and check a file.

Rows are read as a stream, and a few bytes are kept of each, so files may have millions of rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fusionkit.contracts.regular_file import open_file
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

_MAX_DIGITS = 8  # of a frame number: a month of video
_HINT = "expected a header such as image_location,Neutral,Anger,... and rows such as clip/00001.jpg,0"


@dataclass(frozen=True, eq=False)
class Template:
    """The example file of a challenge: the rows that a submission must have, one per frame, in their order.

    Attributes:
        path: of the file.
        header: the first line.
        classes: the class names; a prediction is an index of them. With ``wide`` names of columns.
        wide: whether a row has a value for each of ``classes``, as for action units or valence and arousal.
        clips: names of the clips in order of appearance.
        clip: (n,) int32 index of the clip of each row.
        number: (n,) int64 frame number of each row.
        line: (n,) int32 line number of each row, from 1.
    """

    path: Path
    header: str
    classes: tuple[str, ...]
    wide: bool
    clips: tuple[str, ...]
    clip: np.ndarray
    number: np.ndarray
    line: np.ndarray

    def __len__(self) -> int:
        return len(self.clip)

    @cached_property
    def rows_of(self) -> dict[str, np.ndarray]:
        """Return the rows of each clip, in the order of the template."""
        order = np.argsort(self.clip, kind="stable")
        edges = np.searchsorted(self.clip[order], np.arange(1, len(self.clips)))
        return dict(zip(self.clips, np.split(order, edges), strict=True))

    def frames(self) -> dict[str, np.ndarray]:
        """Return the frame numbers of each clip, in the order of the template."""
        return {name: self.number[rows] for name, rows in self.rows_of.items()}

    def whole_clips(self) -> dict[str, np.ndarray]:
        """Return the frame numbers from 1 to the last one of each clip."""
        return {name: np.arange(1, int(numbers.max()) + 1) for name, numbers in self.frames().items()}

    def locations(self) -> Iterator[str]:
        """Yield the text before the comma of each row."""
        return (location for _, location, _ in read_rows(self.path))


def read_template(path: Path) -> Template:
    """Read a template; the values of its rows are ignored.

    Raises:
        DataError: if it is not a template, or has a frame twice.
    """
    header = _header(path)
    classes = tuple(name.strip() for name in header.split(",")[1:])
    if len(classes) < 2 or len(set(map(str.casefold, classes))) < len(classes):
        raise DataError(f"{path}:1: {header[:80]!r} is not a header with class names", hint=_HINT)
    codes: dict[str, int] = {}
    clip, number, lines = array("i"), array("q"), array("i")
    wide = False
    for line, location, value in read_rows(path):
        wide |= value is not None and value.count(",") == len(classes) - 1
        name, _, image = location.rpartition("/")
        stem = image.partition(".")[0]
        if not (_is_clip_name(name) and stem.isascii() and stem.isdigit() and len(stem) <= _MAX_DIGITS):
            raise DataError(f"{path}:{line}: {location[:80]!r} has no clip name and frame number", hint=_HINT)
        clip.append(codes.setdefault(name, len(codes)))
        number.append(int(stem))
        lines.append(line)
    template = Template(
        path, header, classes, wide, tuple(codes), np.array(clip, np.int32), np.array(number), np.array(lines, np.int32)
    )
    _check_duplicates(template)
    return template


def _is_clip_name(name: str) -> bool:
    """Whether a file of this name stays in the output folder of :func:`write_per_video`."""
    return name.isprintable() and all(part not in ("", ".", "..") for part in name.split("/"))


def _check_duplicates(template: Template) -> None:
    if not len(template):
        raise DataError(f"{template.path} has no rows", hint=_HINT)
    order = np.lexsort((template.number, template.clip))
    same = (np.diff(template.clip[order]) == 0) & (np.diff(template.number[order]) == 0)
    if same.any():
        first, second = (int(template.line[row]) for row in order[np.argmax(same) :][:2])
        raise DataError(f"{template.path}:{second}: duplicate of the frame in line {first}")


def class_order(own: Sequence[str], template: Sequence[str], *, missing_classes: bool = False) -> np.ndarray:
    """Return the index of each of our C classes in those of a template; upper and lower case are equal.

    Args:
        own: classes of the cell.
        template: classes of the template.
        missing_classes: allow classes of the template that the cell lacks; they are never predicted.

    Raises:
        ConfigError: if one has a class that the other lacks.
    """
    indices = {name.casefold(): index for index, name in enumerate(template)}
    folded = {name.casefold() for name in own}
    missing = [name for name in template if name.casefold() not in folded]
    extra = [name for name in own if name.casefold() not in indices]
    if extra or (missing and not missing_classes):
        parts = [f"only in the template: {', '.join(missing)}"] if missing else []
        parts += [f"only in the cell: {', '.join(extra)}"] if extra else []
        hint = "" if extra else "--missing-classes writes the file without ever predicting them"
        raise ConfigError(f"the classes of the cell and of the template differ; {'; '.join(parts)}", hint=hint)
    return np.array([indices[name.casefold()] for name in own])


def check_output(out: Path, template: Template | None, *, per_video: bool) -> None:
    """Check the output path before anything is computed.

    Raises:
        ConfigError: if it is the template, an existing folder, or, with ``per_video``, not empty.
    """
    if per_video:
        check_free(out)
    elif out.is_dir():
        raise ConfigError(f"{out} is a folder", hint="give the path of a file")
    elif template and out.exists() and out.samefile(template.path):
        raise ConfigError(f"{out} is the template", hint="give another output file")


def write_rows(template: Template, predicted: Mapping[str, np.ndarray], out: Path) -> None:
    """Write one file with every row of the template, the format of the sixth and later editions.

    Args:
        template: of the challenge.
        predicted: (T,) class indices or (T, K) values by clip, of the frames of :meth:`Template.frames`.
        out: the file; it is written completely or not at all.

    Raises:
        StorageError: if it cannot be written.
    """
    values = np.empty(len(template), object)
    for name, rows in template.rows_of.items():
        values[rows] = _texts(predicted[name])
    lines = bytearray(f"{template.header}\n", "utf-8")
    for location, value in zip(template.locations(), values.tolist(), strict=True):
        lines += f"{location},{value}\n".encode()
    write_file(out, bytes(lines))


def _texts(predicted: np.ndarray) -> list[str]:
    """Return the text of each row: a class index, or values with commas."""
    if predicted.ndim == 1:
        return list(map(str, predicted.tolist()))
    form = "d" if predicted.dtype.kind in "iu" else ".6f"
    return [",".join(format(value, form) for value in row) for row in predicted.tolist()]


def write_per_video(classes: Sequence[str], clips: Mapping[str, np.ndarray], out: Path) -> None:
    """Write one file per clip, the format of the editions before the sixth: a header, then one line per frame.

    Args:
        classes: of the header.
        clips: (T,) class indices or (T, K) values of the frames 1 to T, by clip.
        out: the folder, new or empty; it is written completely or not at all.

    Raises:
        ConfigError: if the folder is not empty.
        StorageError: if it cannot be written.
    """
    with new_folder(out) as folder:
        for name, predicted in clips.items():
            file = folder / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([",".join(classes), *_texts(predicted), ""]), encoding="utf-8")


def read_rows(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Yield the line number, the text before the first comma and the text after it (None without comma) of each row.

    The header and blank lines are skipped.

    Raises:
        DataError: if the file cannot be read as text.
    """
    for line, text in enumerate(_lines(path), 1):
        location, comma, value = text.partition(",")
        if line > 1 and (location or comma):
            yield line, location, value if comma else None


def _header(path: Path) -> str:
    return next(_lines(path), "")


def _lines(path: Path) -> Iterator[str]:
    try:
        with open_file(path, "r", encoding="utf-8-sig") as stream:
            for text in stream:
                yield text.rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def submission_faults(path: Path, template: Template) -> Iterator[str]:
    """Yield every deviation of a file from the template, as ``path:line: message``; missing rows come last.

    Raises:
        DataError: if the file cannot be read as text.
    """
    if (header := _header(path)) != template.header:
        yield f"{path}:1: the header is {header[:120]!r}; expected {template.header!r}"
    rows = {location: row for row, location in enumerate(template.locations())}
    found_on = np.zeros(len(template), np.int32)  # line of the file by row of the template; 0: missing
    wide = template.wide and "," in (next((value for _, _, value in read_rows(path)), "") or "")
    last = -1
    for line, location, value in read_rows(path):
        row = rows.get(location, -1)
        if row < 0:
            yield f"{path}:{line}: {location[:120]!r} is not in the template"
            continue
        if fault := _value_fault(value, len(template.classes), wide=wide):
            yield f"{path}:{line}: {fault}"
        if found_on[row]:
            yield f"{path}:{line}: {location!r} is a duplicate of line {found_on[row]}"
            continue
        found_on[row] = line
        if row < last:
            yield f"{path}:{line}: {location!r} is out of order: it is line {template.line[row]} of the template"
        last = row
    yield from _missing(path, template, rows, found_on)


def _missing(path: Path, template: Template, locations: Iterable[str], found_on: np.ndarray) -> Iterator[str]:
    for location, line, found in zip(locations, template.line.tolist(), found_on.tolist(), strict=True):
        if not found:
            yield f"{template.path}:{line}: {location!r} is missing from {path}"


def _value_fault(value: str | None, classes: int, *, wide: bool) -> str:
    if value is None:
        return "comma and class number are missing"
    if wide:
        return "" if _are_values(value, classes) else f"{value[:40]!r} is not {classes} numbers from -1 to 1"
    if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS and int(value) < classes:
        return ""
    return f"{value[:40]!r} is not a class number from 0 to {classes - 1}"


def _are_values(text: str, count: int) -> bool:
    try:
        values = list(map(float, text.split(",")))
    except ValueError:
        return False
    return len(values) == count and all(-1 <= value <= 1 for value in values)


@dataclass(frozen=True, eq=False)
class SubmissionResult:
    """Predictions for the frames of a challenge.

    Attributes:
        predicted: (T,) class indices or (T, K) values of the requested frames, by clip.
        imputed: number of frames without a view in clips that have views.
        unseen: number of frames in clips without any view, which get the most frequent class of the training frames.
    """

    predicted: dict[str, np.ndarray]
    imputed: int
    unseen: int

    @property
    def frames(self) -> int:
        """Return the number of requested frames."""
        return sum(map(len, self.predicted.values()))


def with_test_clips(dataset: Spec) -> Spec:
    """Return a data set with its test clips, which its option ``test`` adds.

    Raises:
        ConfigError: if it has no such option.
    """
    option = options_of(DATASETS.get(dataset.name)).get("test")
    if option is None or not isinstance(option.default, bool):
        raise ConfigError(
            f"data set {dataset.name} has no option that adds a test set",
            hint="give --dataset",
        )
    return Spec(dataset.name, {**dataset.options, "test": True})


def predict_clips(
    predictor: Predictor,
    classes: Sequence[str],
    wanted: Mapping[str, np.ndarray],
    source: Source,
    progress: Progress,
    *,
    missing_classes: bool = False,
) -> SubmissionResult:
    """Predict frames of clips.

    Each clip is smoothed over all its frames in the data set; requested frames without an image are imputed.

    Args:
        predictor: of the cell.
        classes: names in the order of the class indices.
        wanted: (T,) frame numbers by clip, in any order.
        source: data set of the clips.
        progress: counts frames.
        missing_classes: allow classes that the cell lacks.

    Raises:
        ConfigError: if the cell has other classes.
        DataError: if the data set has none of the clips.
        FusionKitError: if a component fails.
    """
    order = class_order(predictor.classes, classes, missing_classes=missing_classes and predictor.task.exclusive)
    spans = [span for span in clips(source.table) if str(source.table.clip[span.start]) in wanted]
    if not spans:
        raise DataError(
            f"data set {source.spec} has none of the requested clips, such as {next(iter(wanted))!r}",
            hint=_test_hint(source),
        )
    rows = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    found = predictor.predict_dataset(source.take(rows), progress=progress)
    predicted, imputed, unseen = {}, 0, 0
    for clip, numbers in wanted.items():
        probs, seen = found.at(clip, numbers)
        answers = predictor.task.answers(probs)
        predicted[clip] = order[answers] if answers.ndim == 1 else answers[:, np.argsort(order)]
        if found.has_view(clip):
            imputed += int((~seen).sum())
        else:
            unseen += len(numbers)
    return SubmissionResult(predicted, imputed, unseen)


def all_test_frames(source: Source) -> dict[str, np.ndarray]:
    """Return the frame numbers from 1 to the last one of each clip of the test split.

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
        raise DataError(f"data set {source.spec} has no test split", hint=_test_hint(source) or "give --template")
    return found


def _test_hint(source: Source) -> str:
    """Return the data set with its test clips, for a hint; empty if it has no such option, or has them."""
    option = options_of(type(source.dataset)).get("test")
    if option is None or not isinstance(option.default, bool) or source.spec.options.get("test", option.default):
        return ""
    return f"test=true adds the clips of the test set: {with_test_clips(source.spec)}"
