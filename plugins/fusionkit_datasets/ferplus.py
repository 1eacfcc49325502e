"""FER+: the faces of FER2013, labelled anew by ten people each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fusionkit.errors import DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.fer2013 import USAGES, csv_file
from fusionkit_datasets.ferplus_votes import COLUMNS, EMOTIONS, UNKNOWN, majority
from fusionkit_datasets.image_files import ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.pixel_table import PixelTable
from fusionkit_datasets.still import Still
from fusionkit_datasets.stills import ClassMapOption, Stills, root_folder

LAYOUT = "fer2013new.csv with fer2013.csv, or FER2013{Train,Valid,Test}/label.csv with the images beside it"
CSV_FILES = ("fer2013new.csv", "ferplus/fer2013new.csv", "FERPlus/fer2013new.csv")
FOLDERS = {"train": "FER2013Train", "val": "FER2013Valid", "test": "FER2013Test"}


class FerPlus(Stills):
    """FER+ with its eight classes, by majority vote, and the split of FER2013.

    Two layouts: ``fer2013new.csv`` beside ``fer2013.csv``, line for line; and the folders that the authors' script
    makes of them, ``FER2013{Train,Valid,Test}`` with the images and ``label.csv``. An image has the same name in both.

    Votes: a lone vote counts for nothing; a class needs more than half of what remains. Images without a name, without
    a majority, and those that most call unknown or NF (no face) are passed over and counted in ``dropped``.

    Args:
        root: the folder; ``~`` is the home folder.
        class_map: classes renamed, merged or left out: ``{contempt:null}``; ``abaw`` for the names of the ABAW
            challenge, contempt becoming Other.

    Raises:
        ConfigError: if the class map is refused.
        DataError: if the layout or a line is not as above, or the two files are not of the same rows.

    Reference:
        E. Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
        Distribution, ICMI 2016, arXiv:1608.01041; layouts and rules as in https://github.com/microsoft/FERPlus.
    """

    own: ClassVar[tuple[str, ...]] = EMOTIONS
    abaw: ClassVar[dict[str, str | None]] = {
        "neutral": "Neutral",
        "happiness": "Happiness",
        "surprise": "Surprise",
        "sadness": "Sadness",
        "anger": "Anger",
        "disgust": "Disgust",
        "fear": "Fear",
        "contempt": "Other",
    }

    def __init__(self, root: str, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(self.own, class_map, self.abaw)
        top = root_folder("ferplus", root, LAYOUT)
        path = next((top / name for name in CSV_FILES if (top / name).is_file()), None)
        super().__init__(_from_csv(path, top) if path else _from_folders(top), mapped)


def _from_csv(path: Path, top: Path) -> Listing:
    pixels = csv_file("ferplus", str(top))
    if pixels is None:
        raise DataError(f"ferplus: {path} needs fer2013.csv beside it", hint=LAYOUT)
    table, file = PixelTable.open("ferplus", pixels), AnnotationFile("ferplus", path)
    lines = [(line, fields) for line, fields in file.rows() if fields[0] != "Usage"]
    if len(lines) != len(table.rows):
        raise DataError(
            f"ferplus: {path} has {len(lines)} rows and {pixels} {len(table.rows)}: they must be row for row the same"
        )
    for (line, fields), row in zip(lines, table.rows, strict=True):
        if fields[0] not in USAGES:
            file.fault(line, f"Usage {fields[0][:40]!r} is not {', '.join(USAGES)}")
        elif row.usage and row.usage != fields[0]:
            file.fault(line, f"Usage {fields[0]!r} is {row.usage[:40]!r} at {pixels}:{row.line}")
    names = [fields[1] if len(fields) > 1 else "" for _, fields in lines]
    labels, dropped = _kept(_votes(file, [(line, fields[2:]) for line, fields in lines]), names)
    places = np.flatnonzero(labels >= 0).tolist()
    stills = []
    for at in places:
        split = USAGES.get(lines[at][1][0], "")
        stills.append(Still(f"{FOLDERS.get(split, '')}/{names[at]}", int(labels[at]), split, lines[at][0], file.name))
    return Listing(stills, table.take(places), file.digest(), dropped, [*table.faults, *file.faults])


def _from_folders(top: Path) -> Listing:
    lists = {split: path for split, name in FOLDERS.items() if (path := top / name / "label.csv").is_file()}
    if "train" not in lists:
        raise DataError(f"ferplus: {top} has neither fer2013new.csv nor FER2013Train/label.csv", hint=LAYOUT)
    stills: list[Still] = []
    digests, dropped, faults = [], Counter[str](), list[str]()
    for split, path in lists.items():
        file = AnnotationFile("ferplus", path)
        rows = list(file.rows())
        # Some editions have the face's box between the name and the votes.
        votes = _votes(file, [(line, fields[1:][-len(COLUMNS) :]) for line, fields in rows])
        labels, passed_over = _kept(votes, [fields[0] for _, fields in rows])
        for (line, fields), label in zip(rows, labels.tolist(), strict=True):
            if label >= 0:
                stills.append(Still(f"{FOLDERS[split]}/{fields[0]}", label, split, line, file.name))
        digests.append(f"{split} {file.digest()}")
        faults += file.faults
        dropped.update(passed_over)
    return Listing(stills, ImageFiles(top, [still.clip for still in stills]), "\n".join(digests), dropped, faults)


def _votes(file: AnnotationFile, rows: Sequence[tuple[int, list[str]]]) -> np.ndarray:
    """(N, 10) int64; a line that is not ten numbers is a fault, and all 0 here."""
    votes = np.zeros((len(rows), len(COLUMNS)), dtype=np.int64)
    for place, (line, fields) in enumerate(rows):
        wrong = [field for field in fields if not (field.isascii() and field.isdecimal() and len(field) < 6)]
        if len(fields) != len(COLUMNS):
            file.fault(line, f"{len(fields)} votes stand where {len(COLUMNS)} should ({', '.join(COLUMNS)})")
        elif wrong:
            file.fault(line, f"{wrong[0][:40]!r} is no number of votes")
        else:
            votes[place] = [int(field) for field in fields]
    return votes


def _kept(votes: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    """(N,) labels, -1 for what is passed over; and the counts of that."""
    winner = majority(votes)
    nameless = np.array([name == "" for name in names], dtype=bool)
    reasons = {"no name": nameless, "unknown": ~nameless & (winner == UNKNOWN), "NF": ~nameless & (winner > UNKNOWN)}
    labels = np.where(nameless | (winner >= UNKNOWN), -1, winner)
    return labels, {reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()}
