"""FER2013: 35,887 grey faces of 48 x 48 px from the web, as its csv file or as class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusionkit.contracts import UNLABELLED, Export
from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import expanded
from fusionkit.registry.spec import Spec
from fusionkit_datasets.class_folders import class_folders
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.pixel_table import PixelTable
from fusionkit_datasets.stills import FileImages, Listing, Still, Stills, root_folder

LAYOUT = "fer2013.csv, or {train,val,test}/<class>/<images>"
CSV_FILES = ("fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv")

# By the number in the csv. Folders sorted by name have another order: 4 is then neutral.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


class Fer2013(Stills):
    """FER2013 with its seven classes and its split: Training, PublicTest (val) and PrivateTest (test).

    Two layouts: ``fer2013.csv`` (columns emotion, pixels, Usage in any order; without Usage there is no official
    split), and folders named after the expressions, ``{train,test}/<class>`` or ``{train,val,test}/<class>``.

    Args:
        root: the folder, or the csv file; ``~`` is the home folder.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if the layout or a line of the csv is not as above.

    Reference:
        I. J. Goodfellow et al., Challenges in Representation Learning: A Report on Three Machine Learning Contests,
        ICONIP 2013, arXiv:1307.0414; columns and numbers as in the Kaggle challenge's csv file.
    """

    def __init__(self, root: str, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(CLASSES, class_map)
        path = csv_file("fer2013", root)
        listing = _from_csv(path) if path else _from_folders(expanded(root))
        super().__init__(listing, mapped)

    def export(self, rows: np.ndarray) -> Export:
        """Return class folders: with the names that were read, or ``.png`` files named after the rows of the csv."""
        images, stills = self._listing.images, [self._listing.stills[row] for row in rows.tolist()]
        if isinstance(images, FileImages):
            names = [images.names[row] for row in rows.tolist()]
        else:
            parts = [(still.split, CLASSES[still.label], f"{still.clip}.png") for still in stills]
            names = ["/".join(filter(None, part)) for part in parts]
        return Export(names, np.zeros(len(rows), bool))


def csv_file(dataset: str, root: str) -> Path | None:
    """Return the csv file of FER2013: the root itself or a file below it; None if there is none.

    Raises:
        DataError: if the root is neither a file nor a folder.
    """
    if expanded(root).is_file():
        return expanded(root)
    top = root_folder(dataset, root, LAYOUT)
    return next((top / name for name in CSV_FILES if (top / name).is_file()), None)


def _from_folders(top: Path) -> Listing:
    other = next((path for path in sorted(top.glob("*.csv")) if _is_pixel_table(path)), None)
    spec = str(Spec("fer2013", {"root": str(other)})) if other else ""
    return class_folders("fer2013", top, CLASSES, sought=CSV_FILES, spec=spec)


def _is_pixel_table(path: Path) -> bool:
    """Return whether a file begins like the csv of FER2013."""
    with open_file(path, "r", encoding="utf-8-sig", errors="replace") as file:
        names = {name.strip(' "\r\n').lower() for name in file.readline(200).split(",")}
    return {"emotion", "pixels"} <= names


def _from_csv(path: Path) -> Listing:
    table = PixelTable.open("fer2013", path)
    codes = {str(number): number for number in range(len(CLASSES))}
    stills, faults = [], list(table.faults)
    for index, row in enumerate(table.rows):
        if row.emotion not in codes:
            faults.append(f"{path}:{row.line}: emotion {row.emotion[:40]!r} must be 0 to 6")
        if row.usage and row.usage not in USAGES:
            faults.append(f"{path}:{row.line}: Usage {row.usage[:40]!r} must be one of {', '.join(USAGES)}")
        stills.append(Still(f"fer{index:07d}", codes.get(row.emotion, UNLABELLED), USAGES.get(row.usage, "")))
    return Listing(stills, table, faults=faults)
