"""The layout of one folder a class, for a data set whose classes are known: folder names are checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean
from fusionkit_datasets.expression_names import own_spelling
from fusionkit_datasets.folder_tree import ImageFile, find_images
from fusionkit_datasets.image_files import ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.still import Still


def class_folders(
    dataset: str,
    root: Path,
    classes: tuple[str, ...],
    digits: Mapping[str, str] | None = None,
    passed_over: Mapping[str, str] | None = None,
) -> Listing:
    """The images below ``ROOT/{train,val,test}/<class>`` or ``ROOT/<class>``, in order of path.

    Args:
        dataset: the data set's name, for messages.
        root: its folder.
        classes: the class names; a folder may spell one otherwise (``Angry`` for ``anger``).
        digits: which class a folder named by a number holds; without it such folders are refused.
        passed_over: folder name in lower case to the reason why its images are counted, not read.

    Returns:
        The rows and their files.

    Raises:
        DataError: if a folder's name is no class.
    """
    meaning = {name: name for name in classes} | dict(digits or {})
    known: list[tuple[ImageFile, str]] = []
    dropped: dict[str, int] = {}
    for file in sorted(find_images(str(root)), key=lambda file: file.key):
        reason = (passed_over or {}).get(file.label.casefold())
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
            continue
        name = meaning.get(file.label) or own_spelling(file.label, classes)
        if name is None:
            raise _no_class(dataset, file, classes, digits)
        known.append((file, name))
    codes = {name: code for code, name in enumerate(classes)}
    stills = [Still(file.key, codes[name], file.split) for file, name in known]
    names = [Path(file.path).relative_to(root).as_posix() for file, _ in known]
    return Listing(stills, ImageFiles(root, names), dropped=dropped)


def _no_class(dataset: str, file: ImageFile, classes: tuple[str, ...], digits: Mapping[str, str] | None) -> DataError:
    known = ", ".join(classes)
    return DataError(
        f"{dataset}: class folder {file.label!r} ({file.path}) is no class{did_you_mean(file.label, classes)}",
        hint=f"folders are named {known}" + (f", or by {', '.join(digits)}" if digits else ""),
    )
