"""AffectNet: faces from the web with eight expressions, in the four layouts in use."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import ClassVar, Literal

import numpy as np

from fusionkit.contracts import Labels
from fusionkit.contracts.regular_file import read_file
from fusionkit.errors import DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_folders import class_folders
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.stills import Box, FileImages, Listing, Still, Stills, TaskLabels, root_folder, usable_box

LAYOUT = (
    "Manually_Annotated_file_lists/{training,validation}.csv with Manually_Annotated_Images, "
    "{train_set,val_set}/{images,annotations}, or {train,val}/<class>/<images>"
)

# By number, 0 to 7, in all layouts. 8 to 10 are not expressions.
CLASSES = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
NO_EXPRESSION = {8: "None", 9: "Uncertain", 10: "Non-face"}

_CSV_FOLDERS = ("Manually_Annotated_file_lists", "file_lists", "")
_CSV_IMAGES = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
_CSV_NAMES = {"train": ("training.csv", "Manually_training.csv"), "val": ("validation.csv", "Manually_validation.csv")}
_COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_AFFECT = ("valence", "arousal")
_NO_AFFECT = -2.0
_LIST_NAMES = ("{}_annotations_8class.txt", "{}_annotations.txt")
_LIST_PREFIXES = {"train": ("train",), "val": ("valid", "val")}
_NPY_FOLDERS = {"train": ("train_set",), "val": ("val_set", "valid_set")}
_SOUGHT = (
    *(f"{folder}/training.csv".lstrip("/") for folder in _CSV_FOLDERS),
    "train_set/annotations",
    "train_set/train_annotations_8class.txt",
)
_NPY_ENDING = "_exp.npy"
_NPY_AFFECT = ("_val.npy", "_aro.npy")
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
# Errors of the parsers that NumPy uses; SystemError is raised for text beyond Unicode.
_NPY_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    SystemError,
    TokenError,
)


class AffectNet(Stills):
    """AffectNet with eight or seven expressions and its split into train and val; val serves as test.

    The layouts, searched in this order:

    - ``csv``: ``Manually_Annotated_file_lists/{training,validation}.csv`` (or ``file_lists/``) with
      ``Manually_Annotated_Images``. The face is cut out by the box in the csv; with an unusable box (``NULL``,
      inverted, outside of the photo) the frame has no image.
    - ``list``: ``train_set/train_annotations_8class.txt`` and ``valid_set/valid_annotations_8class.txt`` (or without
      ``_8class``), a name and a number per line, with ``images`` beside them.
    - ``npy``: the smaller edition, ``{train_set,val_set}/images/<id>.jpg`` with ``annotations/<id>_exp.npy``.
    - ``folders``: ``{train,val}/<0..7 or the expression>/<images>``.

    Images with the label None, Uncertain or Non-face are left out and counted in ``dropped``; so is contempt if
    ``classes`` is 7.

    The layouts ``csv`` and ``npy`` (``<id>_val.npy`` and ``<id>_aro.npy``) have labels of the task ``valence-arousal``:
    -1 to 1, and -2 where there is none.

    Args:
        classes: 8, or 7 to leave contempt out.
        layout: one of the four; needed if more than one is present. Default: the first that is present.
        crop: cut the face out by its box (layout ``csv`` only). If false, whole photos are read.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if the layout or a line of a list is not as above.

    Reference:
        A. Mollahosseini, B. Hasani, M. H. Mahoor, AffectNet: A Database for Facial Expression, Valence, and Arousal
        Computing in the Wild, IEEE Transactions on Affective Computing 10(1), 2017; ``npy`` and numbered folders as in
        https://github.com/yaoing/DAN (affectnet.py), ``list`` as in https://github.com/zczcwh/POSTER; contempt to
        Other as in https://github.com/ora942878/ABAW_10_EXPR.
    """

    revision: ClassVar[int] = 2  # a face without a usable box has no image

    def __init__(
        self,
        root: str,
        classes: Literal[7, 8] = 8,
        layout: Literal["auto", "csv", "list", "npy", "folders"] = "auto",
        crop: bool = True,
        class_map: ClassMapOption = None,
    ) -> None:
        labels = _Labels(classes)
        mapped = ClassMap.of(labels.names, class_map)
        try:
            listing = _read(root_folder("affectnet", root, LAYOUT), layout, labels, crop)
        except OSError as error:
            raise DataError(f"affectnet: cannot read {error.filename}: {error.strerror}") from error
        super().__init__(listing, mapped)


class _Labels:
    """Conversion of AffectNet's numbers to classes; others are counted.

    Args:
        classes: 8, or 7 to leave contempt out.

    Attributes:
        dropped: reason to the number of images that are left out.
    """

    def __init__(self, classes: int) -> None:
        self.names = CLASSES[:classes]
        self.reasons = NO_EXPRESSION | {number: CLASSES[number] for number in range(classes, 8)}
        self.dropped: Counter[str] = Counter()

    def label(self, text: str) -> int | None:
        """Return the class number of a number, written as an int or a whole float; None for one that is left out.

        Raises:
            ValueError: if it is not a number from 0 to 10.
        """
        value = float(text)
        if value not in range(11):
            raise ValueError(text)
        reason = self.reasons.get(int(value))
        if reason is None:
            return int(value)
        self.dropped[reason] += 1
        return None


def _read(top: Path, layout: str, labels: _Labels, crop: bool) -> Listing:
    found = {"csv": _csv_files(top), "list": _text_lists(top), "npy": _npy_folders(top)}
    present = [name for name, paths in found.items() if paths]
    chosen = (present or ["folders"])[0] if layout == "auto" else layout
    if chosen == "folders":
        digits = {str(number): name for number, name in enumerate(labels.names)}
        reasons = {str(number): reason for number, reason in labels.reasons.items()}
        # A folder with the name of a class that is left out is treated like its number.
        reasons |= {name.casefold(): name for name in labels.reasons.values()}
        return class_folders("affectnet", top, labels.names, digits, reasons, sought=_SOUGHT)
    if chosen not in present:
        raise DataError(f"affectnet: {top} does not have layout {chosen}", hint=LAYOUT)
    paths = found[chosen]
    if len(paths) == 1:
        split, path = next(iter(paths.items()))
        other = "val" if split == "train" else "train"
        raise DataError(f"affectnet: {top} has {path.relative_to(top)} but no equivalent for {other}")
    if chosen == "csv":
        return _read_csv(top, paths, labels, crop)
    return _read_text(top, paths, labels) if chosen == "list" else _read_npy(top, paths, labels)


def _csv_files(top: Path) -> dict[str, Path]:
    """Return the csv file of each split that has one."""
    return {
        split: path
        for split, names in _CSV_NAMES.items()
        if (path := _first([top / folder / name for folder in _CSV_FOLDERS for name in names]))
    }


def _read_csv(top: Path, files: dict[str, Path], labels: _Labels, crop: bool) -> Listing:
    """List the rows of the csv files whose number is an expression.

    Raises:
        DataError: if a file cannot be read or has no column ``expression``.
    """
    images = next((folder for folder in _CSV_IMAGES if (top / folder).is_dir()), _CSV_IMAGES[0])
    stills, names, boxes, affects, digests, faults = [], [], [], [], [], list[str]()
    for split, path in files.items():
        file = AnnotationFile("affectnet", path)
        for line, name, label, box, affect in _csv_rows(file, labels, crop):
            stills.append(Still(name, label, split, line, file.name))
            names.append(f"{images}/{name}")
            boxes.append(box)
            affects.append(affect)
        digests.append(f"{split} {file.digest()}")
        faults += file.faults
    found = FileImages(top, names, boxes if crop else ())

    def affect_labels() -> TaskLabels | None:
        origins = [(still.origin, still.origin) for still in stills]
        return None if None in affects else _affect_labels([found for found in affects if found], origins)

    tasks = {"valence-arousal": affect_labels}
    return Listing(stills, found, "\n".join(digests), labels.dropped, faults, tasks=tasks)


def _affect_labels(texts: Sequence[tuple[str, ...]], origins: Sequence[tuple[str, ...]]) -> TaskLabels:
    """Return valence and arousal of texts, (N, 2) float32 in -1..1, NaN for -2; other texts are faults."""
    values = np.full((len(texts), len(_AFFECT)), np.nan, np.float32)
    faults = []
    for row, (pair, origin) in enumerate(zip(texts, origins, strict=True)):
        for column, (name, text) in enumerate(zip(_AFFECT, pair, strict=True)):
            try:
                value = float(text)
            except ValueError:
                value = np.nan
            if -1 <= value <= 1:
                values[row, column] = value
            elif value != _NO_AFFECT:
                faults.append(f"{origin[column]}: {name} {text[:40]!r} must be -1 to 1, or -2 if it is unknown")
    return TaskLabels(Labels(_AFFECT, values), faults)


def _csv_rows(
    file: AnnotationFile, labels: _Labels, crop: bool
) -> Iterator[tuple[int, str, int, Box | None, tuple[str, ...] | None]]:
    """Yield line, path, class, face box, and valence and arousal of each expression; a header is optional.

    Valence and arousal are texts; None if there is no such column.
    """
    columns: Sequence[str] = _COLUMNS
    for index, (line, fields) in enumerate(file.rows()):
        if index == 0 and _COLUMNS[0] in fields:
            if "expression" not in fields:
                raise DataError(f"{file.dataset}: {file.path}:{line}: no column expression")
            columns = fields
            if crop and (absent := [name for name in _COLUMNS[1:5] if name not in fields]):
                file.fault(line, f"no column {', '.join(absent)} to cut faces out; crop=false reads whole photos")
            continue
        if len(fields) != len(columns):
            file.fault(line, f"expected {len(columns)} fields, found {len(fields)}")
            continue
        row = dict(zip(columns, fields, strict=True))
        label = _label(file, line, row["expression"], labels)
        if label is not None:
            affect = tuple(row[name] for name in _AFFECT) if row.keys() >= set(_AFFECT) else None
            yield line, row[_COLUMNS[0]], label, _box([row.get(name, "") for name in _COLUMNS[1:5]]), affect


def _box(fields: list[str]) -> Box | None:
    """Return the box of the face in px; None if the fields are not a usable box."""
    try:
        left, top, width, height = (int(float(field)) for field in fields)
    except (ValueError, OverflowError):
        return None
    return usable_box(left, top, left + width, top + height)


def _text_lists(top: Path) -> dict[str, Path]:
    """Return the text list of each split that has one."""
    return {
        split: path
        for split, names in _LIST_PREFIXES.items()
        if (path := _first([top / f"{name}_set" / form.format(name) for name in names for form in _LIST_NAMES]))
    }


def _read_text(top: Path, files: dict[str, Path], labels: _Labels) -> Listing:
    """List the rows of files with a name and a number per line; images are in ``images`` beside the file.

    Raises:
        DataError: if a file cannot be read.
    """
    stills, names, digests, faults = [], [], [], list[str]()
    for split, path in files.items():
        file = AnnotationFile("affectnet", path)
        folder = path.parent.relative_to(top).as_posix()
        for line, words in file.words(least=2):
            label = _label(file, line, words[-1], labels)
            if label is not None:
                name = " ".join(words[:-1])
                stills.append(Still(f"{split}/{name}", label, split, line, file.name))
                names.append(f"{folder}/images/{name}")
        digests.append(f"{split} {file.digest()}")
        faults += file.faults
    return Listing(stills, FileImages(top, names), "\n".join(digests), labels.dropped, faults)


def _label(file: AnnotationFile, line: int, text: str, labels: _Labels) -> int | None:
    try:
        return labels.label(text)
    except ValueError:
        file.fault(line, f"expression {text[:40]!r} must be 0 to 10")
        return None


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _npy_folders(top: Path) -> dict[str, Path]:
    """Return the folder of each split that has ``annotations``."""
    return {
        split: top / name
        for split, names in _NPY_FOLDERS.items()
        for name in names
        if (top / name / "annotations").is_dir()
    }


def _read_npy(top: Path, folders: dict[str, Path], labels: _Labels) -> Listing:
    """List the images whose ``annotations/<id>_exp.npy`` is an expression, sorted by the number of the id."""
    stills, names, faults = [], [], []
    state = hashlib.sha256()
    for split, folder in folders.items():
        for name in _annotated(folder / "annotations"):
            path = folder / "annotations" / f"{name}{_NPY_ENDING}"
            data = read_file(path)
            try:
                label = labels.label(npy_scalar(data))
            except ValueError as error:
                faults.append(f"{path}: expected one number from 0 to 10: {error}")
                continue
            state.update(f"{split}/{name}".encode() + data)
            if label is not None:
                stills.append(Still(f"{split}/{name}", label, split, 0, str(path)))
                names.append(f"{folder.name}/images/{name}.jpg")
    tasks = {"valence-arousal": lambda: _npy_affect([still.source for still in stills])}
    return Listing(stills, FileImages(top, names), state.hexdigest(), labels.dropped, faults, tasks=tasks)


def _npy_affect(expressions: Sequence[str]) -> TaskLabels | None:
    """Return valence and arousal beside the files of expressions; None if none of them has such files."""
    stems = [path.removesuffix(_NPY_ENDING) for path in expressions]
    paths = [tuple(f"{stem}{ending}" for ending in _NPY_AFFECT) for stem in stems]
    if not any(Path(path).exists() for pair in paths for path in pair):
        return None
    return _affect_labels([tuple(map(_npy_text, pair)) for pair in paths], paths)


def _npy_text(path: str) -> str:
    """Return the value of a file; empty if it is missing or does not have exactly one value."""
    try:
        return npy_scalar(read_file(Path(path)))
    except (OSError, ValueError):
        return ""


def _annotated(folder: Path) -> list[str]:
    """Return the ids: numbers by value, then names."""
    with os.scandir(folder) as entries:
        ids = [entry.name.removesuffix(_NPY_ENDING) for entry in entries if entry.name.endswith(_NPY_ENDING)]
    return sorted(ids, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def npy_scalar(data: bytes) -> str:
    """Return the only value of a ``.npy`` file as text: a number, or a string that was saved as an array.

    Pickle is not used, and hundreds of thousands of files are read quickly.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: if it is not a ``.npy`` file, has pickled objects, or does not have exactly one value.
    """
    try:
        array = _array(data)
        if array.size != 1:
            raise ValueError(f"expected one value, found {array.size}")
        value: object = array.reshape(-1)[0]
        return value.decode() if isinstance(value, bytes) else str(value)
    except _NPY_ERRORS as error:
        raise ValueError(" ".join(str(error).split())) from error


def _array(data: bytes) -> np.ndarray:
    if not data.startswith(_NPY_MAGIC):
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            raise TypeError("expected an array, found an archive of arrays")
        return loaded
    start = 10 + int.from_bytes(data[8:10], "little")  # magic, version, length of the header
    shape, dtype = _header(data[:start])
    return np.frombuffer(data, dtype, count=int(np.prod(shape, dtype=object)), offset=start)


@lru_cache(maxsize=64)
def _header(head: bytes) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type, parsed once for all files with the same header."""
    file = io.BytesIO(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a file written by Python 2 is valid too
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("expected a number, found pickled objects")
    return shape, dtype
