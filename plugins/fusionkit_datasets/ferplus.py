"""FER+: the faces of FER2013, relabelled by ten annotators each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fusionkit.contracts import Labels
from fusionkit.errors import DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.fer2013 import USAGES, csv_file
from fusionkit_datasets.pixel_table import PixelTable
from fusionkit_datasets.stills import FileImages, Listing, Still, Stills, TaskLabels, root_folder, wrong_root

LAYOUT = "fer2013new.csv with fer2013.csv, or FER2013{Train,Valid,Test}/label.csv with the images beside it"
CSV_FILES = ("fer2013new.csv", "ferplus/fer2013new.csv", "FERPlus/fer2013new.csv")
FOLDERS = {"train": "FER2013Train", "val": "FER2013Valid", "test": "FER2013Test"}

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*CLASSES, "unknown", "NF")
UNKNOWN = len(CLASSES)


class FerPlus(Stills):
    """FER+ with its eight classes, by majority vote, and the split of FER2013.

    Two layouts: ``fer2013new.csv`` beside ``fer2013.csv``, line for line; and the folders that the authors' script
    writes, ``FER2013{Train,Valid,Test}`` with the images and ``label.csv``. An image has the same name in both.

    Votes: a single vote is ignored; a class needs more than half of the others. Images without a name or a majority,
    and those with a majority for unknown or NF (no face), are left out and counted in ``dropped``.

    Labels of the task ``votes`` are the numbers of votes for the eight classes, without single votes. Votes for unknown
    and NF are left out: they name no expression.

    Args:
        ambiguous: keep images without a majority, unlabelled, if more of their votes are for a class than for unknown
            or NF. Their votes are labels of the task ``votes`` then.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if the layout or a line is not as above, or the two files do not have the same rows.

    Reference:
        E. Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
        Distribution, ICMI 2016, arXiv:1608.01041; layouts and rules as in https://github.com/microsoft/FERPlus.
    """

    def __init__(self, root: str, class_map: ClassMapOption = None, ambiguous: bool = False) -> None:
        mapped = ClassMap.of(CLASSES, class_map)
        top = root_folder("ferplus", root, LAYOUT)
        path = next((top / name for name in CSV_FILES if (top / name).is_file()), None)
        listing, votes = _from_csv(path, top, ambiguous) if path else _from_folders(top, ambiguous)

        def labels() -> TaskLabels:
            shares = mapped.merge(_without_single(votes)[:, :UNKNOWN])
            shares[shares.sum(1) == 0] = np.nan
            return TaskLabels(Labels(mapped.classes, shares.astype(np.float32)))

        super().__init__(replace(listing, tasks={"votes": labels}), mapped)


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the majority vote: single votes are ignored, and more than half of the others must agree.

    Votes for unknown and NF (no face) count like those for a class.

    Args:
        votes: (N, 10) int, 0 or more, in the order of ``COLUMNS``.

    Returns:
        (N,) int64: column with the majority; ``UNKNOWN`` if there is none.

    Reference: E. Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
    Distribution, ICMI 2016, arXiv:1608.01041; the rules as in https://github.com/microsoft/FERPlus (src/ferplus.py).
    """
    counted = _without_single(votes)
    winner = counted.argmax(axis=1)
    won = 2 * counted.max(axis=1) > counted.sum(axis=1)
    return np.where(won, winner, UNKNOWN).astype(np.int64)


def _without_single(votes: np.ndarray) -> np.ndarray:
    return np.where(votes > 1, votes, 0)


def _from_csv(path: Path, top: Path, ambiguous: bool) -> tuple[Listing, np.ndarray]:
    """Return the rows that are kept, and their votes (N, 10)."""
    pixels = csv_file("ferplus", str(top))
    if pixels is None:
        raise DataError(f"ferplus: {path} needs fer2013.csv beside it", hint=LAYOUT)
    table, file = PixelTable.open("ferplus", pixels), AnnotationFile("ferplus", path)
    lines = [(line, fields) for line, fields in file.rows() if fields[0] != "Usage"]
    if len(lines) != len(table.rows):
        raise DataError(f"ferplus: {path} has {len(lines)} rows and {pixels} {len(table.rows)}; they must be equal")
    for (line, fields), row in zip(lines, table.rows, strict=True):
        if fields[0] not in USAGES:
            file.fault(line, f"Usage {fields[0][:40]!r} must be one of {', '.join(USAGES)}")
        elif row.usage and row.usage != fields[0]:
            file.fault(line, f"Usage {fields[0]!r} differs from {row.usage[:40]!r} at {pixels}:{row.line}")
    names = [fields[1] if len(fields) > 1 else "" for _, fields in lines]
    votes = _votes(file, [(line, fields[2:]) for line, fields in lines])
    labels, there, dropped = _labels(votes, names, ambiguous)
    kept = np.flatnonzero(there).tolist()
    stills = []
    for index in kept:
        line, fields = lines[index]
        split = USAGES.get(fields[0], "")
        stills.append(Still(f"{FOLDERS.get(split, '')}/{names[index]}", int(labels[index]), split, line, file.name))
    listing = Listing(stills, table.take(kept), file.digest(), dropped, [*table.faults, *file.faults])
    return listing, votes[there]


def _from_folders(top: Path, ambiguous: bool) -> tuple[Listing, np.ndarray]:
    """Return the rows that are kept, and their votes (N, 10)."""
    lists = {split: path for split, name in FOLDERS.items() if (path := top / name / "label.csv").is_file()}
    if "train" not in lists:
        raise wrong_root("ferplus", top, [*CSV_FILES, "FER2013Train/label.csv"], LAYOUT)
    stills: list[Still] = []
    kept = []
    digests, dropped, faults = [], Counter[str](), list[str]()
    for split, path in lists.items():
        file = AnnotationFile("ferplus", path)
        rows = list(file.rows())
        # Some editions have the box of the face between the name and the votes.
        votes = _votes(file, [(line, fields[1:][-len(COLUMNS) :]) for line, fields in rows])
        labels, there, left_out = _labels(votes, [fields[0] for _, fields in rows], ambiguous)
        kept.append(votes[there])
        for (line, fields), label, is_kept in zip(rows, labels.tolist(), there.tolist(), strict=True):
            if is_kept:
                stills.append(Still(f"{FOLDERS[split]}/{fields[0]}", label, split, line, file.name))
        digests.append(f"{split} {file.digest()}")
        faults += file.faults
        dropped.update(left_out)
    images = FileImages(top, [still.clip for still in stills])
    return Listing(stills, images, "\n".join(digests), dropped, faults), np.concatenate(kept)


def _votes(file: AnnotationFile, rows: Sequence[tuple[int, list[str]]]) -> np.ndarray:
    """Return (N, 10) int64; a line that is not ten numbers is a fault, and all 0."""
    votes = np.zeros((len(rows), len(COLUMNS)), dtype=np.int64)
    for index, (line, fields) in enumerate(rows):
        wrong = [field for field in fields if not (field.isascii() and field.isdecimal() and len(field) < 6)]
        if len(fields) != len(COLUMNS):
            file.fault(line, f"expected {len(COLUMNS)} votes ({', '.join(COLUMNS)}), found {len(fields)}")
        elif wrong:
            file.fault(line, f"{wrong[0][:40]!r} must be a number of votes")
        else:
            votes[index] = [int(field) for field in fields]
    return votes


def _labels(votes: np.ndarray, names: Sequence[str], ambiguous: bool) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return (N,) labels, -1 without a majority for a class; (N,) whether an image is kept; and reasons with numbers.

    Args:
        votes: (N, 10).
        names: (N,) names of the images; empty if it has none.
        ambiguous: keep images with most votes for a class, but no majority.
    """
    winner = majority(votes)
    nameless = np.array([name == "" for name in names], dtype=bool)
    counted = _without_single(votes)
    leading = ambiguous & (winner == UNKNOWN) & (counted[:, :UNKNOWN].max(1) > counted[:, UNKNOWN:].max(1))
    kept = ~nameless & ((winner < UNKNOWN) | leading)
    reasons = {
        "no name": nameless,
        "unknown": ~nameless & ~kept & (winner == UNKNOWN),
        "NF": ~nameless & (winner > UNKNOWN),
    }
    labels = np.where(winner < UNKNOWN, winner, -1)
    return labels, kept, {reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()}
