"""AffectNet as lists: the csv files that it is given out with, and the text lists made from its smaller edition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fusionkit.errors import DataError
from fusionkit_datasets.affectnet_native import Native
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.image_files import Box, ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.still import Still

CSV_FOLDERS = ("Manually_Annotated_file_lists", "file_lists", "")
IMAGE_FOLDERS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
CSV_NAMES = {"train": ("training.csv", "Manually_training.csv"), "val": ("validation.csv", "Manually_validation.csv")}
COLUMNS = (
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
LIST_NAMES = ("{}_annotations_8class.txt", "{}_annotations.txt")


def csv_files(top: Path) -> dict[str, Path]:
    """The csv file of each split; those that are there."""
    return {
        split: path
        for split, names in CSV_NAMES.items()
        if (path := _first([top / folder / name for folder in CSV_FOLDERS for name in names]))
    }


def text_lists(top: Path) -> dict[str, Path]:
    """The text list of each split; those that are there."""
    places = {"train": ("train",), "val": ("valid", "val")}
    return {
        split: path
        for split, folders in places.items()
        if (path := _first([top / f"{name}_set" / form.format(name) for name in folders for form in LIST_NAMES]))
    }


def read_csv(top: Path, files: dict[str, Path], native: Native, crop: bool) -> Listing:
    """The rows of the csv files whose number is an expression.

    Raises:
        DataError: if a file cannot be read or lacks a column.
    """
    images = next((folder for folder in IMAGE_FOLDERS if (top / folder).is_dir()), IMAGE_FOLDERS[0])
    stills, names, boxes, digests, faults = [], [], [], [], list[str]()
    for split, path in files.items():
        file = AnnotationFile("affectnet", path)
        for line, name, label, box in _csv_rows(file, native):
            stills.append(Still(name, label, split, line, file.name))
            names.append(f"{images}/{name}")
            boxes.append(box)
        digests.append(f"{split} {file.digest()}")
        faults += file.faults
    found = ImageFiles(top, names, boxes if crop else ())
    return Listing(stills, found, "\n".join(digests), native.dropped, faults)


def read_text(top: Path, files: dict[str, Path], native: Native) -> Listing:
    """The rows of lists with a name and a number a line; images are in ``images`` beside the list.

    Raises:
        DataError: as above.
    """
    stills, names, digests, faults = [], [], [], list[str]()
    for split, path in files.items():
        file = AnnotationFile("affectnet", path)
        folder = path.parent.relative_to(top).as_posix()
        for line, words in file.words(least=2):
            label = _label(file, line, words[-1], native)
            if label is not None:
                name = " ".join(words[:-1])
                stills.append(Still(f"{split}/{name}", label, split, line, file.name))
                names.append(f"{folder}/images/{name}")
        digests.append(f"{split} {file.digest()}")
        faults += file.faults
    return Listing(stills, ImageFiles(top, names), "\n".join(digests), native.dropped, faults)


def _csv_rows(file: AnnotationFile, native: Native) -> Iterator[tuple[int, str, int, Box | None]]:
    """Line, path, class and face box of each row that is an expression; a header is optional."""
    columns: Sequence[str] = COLUMNS
    for place, (line, fields) in enumerate(file.rows()):
        if place == 0 and COLUMNS[0] in fields:
            if "expression" not in fields:
                raise DataError(f"{file.dataset}: {file.path}:{line}: there is no column expression")
            columns = fields
            continue
        if len(fields) != len(columns):
            file.fault(line, f"{len(fields)} fields stand where {len(columns)} should")
            continue
        row = dict(zip(columns, fields, strict=True))
        label = _label(file, line, row["expression"], native)
        if label is not None:
            yield line, row[COLUMNS[0]], label, _box([row.get(name, "") for name in COLUMNS[1:5]])


def _label(file: AnnotationFile, line: int, text: str, native: Native) -> int | None:
    try:
        return native.label(text)
    except ValueError:
        file.fault(line, f"expression {text[:40]!r} is not 0 to 10")
        return None


def _box(fields: list[str]) -> Box | None:
    """The face's box in px; None where the list gives none that can be."""
    try:
        left, top, width, height = (int(float(field)) for field in fields)
    except (ValueError, OverflowError):
        return None
    return (left, top, left + width, top + height) if width > 0 and height > 0 else None


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def check_both(files: dict[str, Path], top: Path) -> None:
    """Refuse train without val, and val without train.

    Raises:
        DataError: if one is missing.
    """
    if len(files) == 1:
        split, path = next(iter(files.items()))
        other = "val" if split == "train" else "train"
        raise DataError(f"affectnet: {top} has {path.relative_to(top)} but nothing of its kind for {other}")
