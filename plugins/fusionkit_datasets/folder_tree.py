"""Finds the images of a folder data set: which splits, which classes, which files. Looks at names and sizes only."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fusionkit.contracts.image_file import ENDINGS
from fusionkit.errors import DataError

LAYOUT = "expected ROOT/<class>/<images> or ROOT/{train,val[,test]}/<class>/<images>"

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of the tree.

    Attributes:
        split: ``train``, ``val``, ``test``, or empty where there is no official split.
        label: the class folder's name.
        name: path below the class folder, with ``/``.
        path: path to open.
        size: in bytes; 0 for a link that leads nowhere.
    """

    split: str
    label: str
    name: str
    path: str
    size: int

    @property
    def key(self) -> str:
        """Path below the root, under the split's usual name: the same wherever the root is and whatever its folders."""
        return "/".join(part for part in (self.split, self.label, self.name) if part)


def find_images(root: str) -> list[ImageFile]:
    """All images of a data set, in no particular order.

    Raises:
        DataError: if the root is no folder, or the folders below it are not those of a data set.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise DataError(f"folder: root {root!r} {'is not a folder' if top.exists() else 'does not exist'}", hint=LAYOUT)
    try:
        splits = _splits(top)
        images = [image for split, folder in splits.items() for image in _images_of_split(top, folder, split)]
    except OSError as error:
        raise DataError(f"folder: cannot list {error.filename}: {error.strerror}") from error
    if not images:
        raise DataError(f"folder: root {root!r} {_what_is_there(top)}", hint=LAYOUT)
    for split in splits:
        if not any(image.split == split for image in images):
            raise DataError(f"folder: split {split} ({splits[split]}) holds no class folder with images", hint=LAYOUT)
    _check_classes(images)
    return images


def _splits(top: Path) -> dict[str, Path]:
    """The folder of each split; ``{'': top}`` where there is no official split."""
    splits: dict[str, Path] = {}
    others = []
    for folder in _folders(top):
        split = _SPLITS.get(folder.name.lower())
        if split is None:
            others.append(folder)
        elif split in splits:
            raise DataError(f"folder: {splits[split]} and {folder} are both the split {split}")
        else:
            splits[split] = folder
    if not splits:
        return {"": top}
    for folder in others:
        if next(_images_below(folder), None):
            raise DataError(f"folder: {folder} stands beside {', '.join(splits)} but is no split", hint=LAYOUT)
    if "train" not in splits:
        raise DataError(f"folder: root {str(top)!r} has {', '.join(splits)} but no train", hint=LAYOUT)
    return splits if len(splits) > 1 else {"": splits["train"]}


def _images_of_split(top: Path, folder: Path, split: str) -> Iterator[ImageFile]:
    for class_folder in _folders(folder):
        for name, path, size in _images_below(class_folder, above=(top, folder)):
            yield ImageFile(split, class_folder.name, name, path, size)


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _images_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, str, int]]:
    """Name below the folder, path and size of every image; each real folder once, so that links cannot loop."""
    seen = {_identity(place) for place in (folder, *above)}
    waiting = [("", str(folder))]
    while waiting:
        prefix, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    if (identity := _identity(entry.path)) not in seen:
                        seen.add(identity)
                        waiting.append((f"{prefix}{entry.name}/", entry.path))
                elif os.path.splitext(entry.name)[1].lower() in ENDINGS:  # noqa: PTH122  # ten times Path's speed
                    yield prefix + entry.name, entry.path, _size(entry)


def _identity(place: str | Path) -> tuple[int, int]:
    status = os.stat(place)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size(entry: os.DirEntry[str]) -> int:
    """In bytes; a dead link counts 0: its frame stays in the table as one without an image."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _what_is_there(top: Path) -> str:
    names = sorted(child.name for child in top.iterdir() if not child.name.startswith("."))
    if not names:
        return "is empty"
    images = sum(Path(name).suffix.lower() in ENDINGS for name in names)
    if images:
        return f"has no class folder with images; {images} images lie in it directly"
    return f"has no class folder with images; found: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def _check_classes(images: list[ImageFile]) -> None:
    """Refuse a lone class, and names that differ only in how they are written."""
    classes = sorted({image.label for image in images})
    if len(classes) == 1:
        raise DataError(f"folder: found one class only ({classes[0]}); at least two are needed", hint=LAYOUT)
    written: dict[str, str] = {}
    for name in classes:
        other = written.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise DataError(f"folder: class folders {other!r} and {name!r} differ only in case or in Unicode form")
