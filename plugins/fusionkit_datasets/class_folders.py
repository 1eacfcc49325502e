"""Images in one folder per class, optionally below folders of splits: search, and check of known class names."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionkit.contracts.image_file import ENDINGS, unread_files
from fusionkit.errors import DataError, printable
from fusionkit.registry import did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit_datasets.class_map import own_spelling
from fusionkit_datasets.stills import FileImages, Listing, Still, folders_in, root_folder, wrong_root

LAYOUT = "expected ROOT/<class>/<images> or ROOT/{train,val[,test]}/<class>/<images>; classes in names: label=REGEX"

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
        split: ``train``, ``val``, ``test``; empty if there is no official split.
        label: name of the class folder.
        name: path below the class folder, with ``/``.
        path: path to open.
        size: in bytes; 0 for a broken link.
    """

    split: str
    label: str
    name: str
    path: str
    size: int

    @property
    def key(self) -> str:
        """Path below the root with the usual name of the split: independent of the root and of its folder names."""
        return "/".join(part for part in (self.split, self.label, self.name) if part)


def find_images(
    root: str,
    dataset: str = "folder",
    sought: Sequence[str] = (),
    spec: str = "",
    *,
    problems: list[str] | None = None,
    label: Callable[[str, str], str] | None = None,
) -> list[ImageFile]:
    """Return all images of a data set, in no particular order. Only names and sizes are read.

    Args:
        root: its folder.
        dataset: its name, for messages.
        sought: files or folders of its other layouts, which the root does not have.
        spec: SPEC that reads the root, if it is known.
        label: function of the path below the root or the folder of a split, and of the path to open, that returns the
            class. Default: the class is the first folder.
        problems: receives a line on the files beside the images that are not read, if there are any.

    Raises:
        DataError: if the root is not a folder, or the folders below it have another layout.
    """
    top = root_folder(dataset, root, LAYOUT)
    others: list[str] = []
    try:
        splits = _splits(top)
        images = [
            image for split, folder in splits.items() for image in _images_of_split(top, folder, split, others, label)
        ]
    except OSError as error:
        raise DataError(f"folder: cannot list {error.filename}: {error.strerror}") from error
    if not images:
        raise _no_classes(dataset, top, [*sought, "class folder with images"], spec)
    if len({image.label for image in images}) == 1:
        second = f"second class folder: found only one class ({images[0].label}), at least two are needed"
        raise _no_classes(dataset, top, [*sought, second], spec)
    for split in splits:
        if not any(image.split == split for image in images):
            raise DataError(f"folder: split {split} ({splits[split]}) has no class folder with images", hint=LAYOUT)
    _check_classes(images)
    if problems is not None and (unread := unread_files(others)):
        problems.append(f"{top}: files that are no images are not read: {unread}")
    return images


def class_folders(
    dataset: str,
    root: Path,
    classes: tuple[str, ...],
    digits: Mapping[str, str] | None = None,
    left_out: Mapping[str, str] | None = None,
    *,
    sought: Sequence[str] = (),
    spec: str = "",
) -> Listing:
    """List the images below ``ROOT/{train,val,test}/<class>`` or ``ROOT/<class>`` of known classes, sorted by path.

    Args:
        dataset: name of the data set, for messages.
        root: its folder.
        classes: class names; a folder may have another spelling (``Angry`` for ``anger``).
        digits: name of a numbered folder to its class. Default: numbered folders are refused.
        left_out: folder name in lower case to the reason why its images are counted instead of read.
        sought: files or folders of the other layouts, which the root does not have.
        spec: SPEC that reads the root, if it is known.

    Raises:
        DataError: if a folder name is not a class.
    """
    meaning = {name: name for name in classes} | dict(digits or {})
    stills, names = [], []
    dropped = Counter[str]()
    problems: list[str] = []
    for file in sorted(find_images(str(root), dataset, sought, spec, problems=problems), key=lambda file: file.key):
        if reason := (left_out or {}).get(file.label.casefold()):
            dropped[reason] += 1
            continue
        name = meaning.get(file.label) or own_spelling(file.label, classes)
        if name is None:
            near = did_you_mean(file.label, classes)
            known = ", ".join(classes) + (f", or {', '.join(digits)}" if digits else "")
            raise DataError(
                f"{dataset}: unknown class folder {file.label!r} ({file.path}){near}", hint=f"known folders: {known}"
            )
        stills.append(Still(file.key, classes.index(name), file.split))
        names.append(Path(file.path).relative_to(root).as_posix())
    return Listing(stills, FileImages(root, names), dropped=dropped, problems=problems)


def _splits(top: Path) -> dict[str, Path]:
    """Return the folder of each split; ``{'': folder}`` if there is no official split."""
    splits: dict[str, Path] = {}
    others = []
    for folder in folders_in(top):
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
            problem = f"folder: {folder} is beside {', '.join(splits)} but is not a split"
            raise DataError(problem, hint=f"{LAYOUT}; images without labels belong outside ROOT")
    if "train" not in splits:
        raise DataError(f"folder: root {str(top)!r} has {', '.join(splits)} but no train", hint=LAYOUT)
    return splits if len(splits) > 1 else {"": splits["train"]}


def _images_of_split(
    top: Path, folder: Path, split: str, others: list[str], label: Callable[[str, str], str] | None
) -> Iterator[ImageFile]:
    if label is not None:
        for name, path, size in _images_below(folder, (top,), others):
            yield ImageFile(split, printable(label(name, path)), name, path, size)
        return
    for class_folder in folders_in(folder):
        for name, path, size in _images_below(class_folder, (top, folder), others):
            yield ImageFile(split, printable(class_folder.name), name, path, size)


def _images_below(
    folder: Path, above: tuple[Path, ...] = (), others: list[str] | None = None
) -> Iterator[tuple[str, str, int]]:
    """Yield name below the folder, path and size of every image; each real folder once, so links cannot loop.

    The paths of other files are added to ``others``.
    """
    seen = {_identity(each) for each in (folder, *above)}
    waiting = [("", str(folder))]
    while waiting:
        prefix, path = waiting.pop()
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    if (identity := _identity(entry.path)) not in seen:
                        seen.add(identity)
                        waiting.append((f"{prefix}{entry.name}/", entry.path))
                elif os.path.splitext(entry.name)[1].lower() in ENDINGS:  # noqa: PTH122  # ten times faster than Path
                    yield prefix + entry.name, entry.path, _size(entry)
                elif others is not None:
                    others.append(entry.path)


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size(entry: os.DirEntry[str]) -> int:
    """Return the size in bytes; 0 for a broken link, whose frame stays in the table without an image."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _no_classes(dataset: str, top: Path, sought: Sequence[str], spec: str) -> DataError:
    below = _root_below(top)
    spec = spec or (str(Spec(dataset, {"root": str(below)})) if below else "")
    return wrong_root(dataset, top, sought, LAYOUT, spec)


def _root_below(top: Path) -> Path | None:
    """Return a folder at most two levels below the root that has splits, or classes with images; None without one."""
    near = folders_in(top)
    for folder in [*near, *(each for child in near for each in folders_in(child))]:
        inner = folders_in(folder)
        if any(_SPLITS.get(each.name.lower()) == "train" for each in inner):
            return folder
        if sum(next(_images_below(each), None) is not None for each in inner) > 1:
            return folder
    return None


def _check_classes(images: list[ImageFile]) -> None:
    """Refuse names that differ only in case or Unicode form."""
    classes = sorted({image.label for image in images})
    written: dict[str, str] = {}
    for name in classes:
        other = written.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise DataError(f"folder: class folders {other!r} and {name!r} differ only in case or in Unicode form")
