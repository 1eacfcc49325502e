"""Write clips in the layout of Aff-Wild2, with the irregularities of the real files, to test readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.errors import DataError
from fusionkit_datasets.affwild2_crops import usual_name
from fusionkit_datasets.affwild2_labels import AU, CLASSES, EXPR, VA, Challenge

TEMPLATE = "test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt"
ROOTS = ("cropped_aligned", "cropped_aligned_new_50_vids")
SPLITS = {"train": "Train_Set", "val": "Validation_Set", "test": ""}

# The first clips of a split: a video of two persons and one of three. Other clips have one person each.
_SUFFIXES = ("_left", "_right", "", "_left", "_right")
_NEW_VIDEO = (True, False, True, False, False)

# For every eight clips of a split. Of the 317 real files, 208 have one line more than the video has frames, 94 as many,
# 9 two more and 6 one fewer; here each kind occurs in every eight.
_MORE_LINES = (1, 0, 1, 2, 1, -1, 0, 1)
_SECOND_ROOT, _BOM, _CRLF, _BLANK_LINES, _LATE_START = 3, 1, 2, 6, 7
_LATE = 99_998  # first frame of a late test clip, so that its names reach six digits
_NOT_IN = {AU: 1, VA: 4}  # with faults, the clip of each split that is not in a challenge
_OTHER_SPLIT = 5  # and the clip of train and val that is in the other split of VA
_LISTED = {EXPR: "Expression_Recognition", AU: "Action_Unit_Detection", VA: "Valence_Arousal_Estimation"}
_BATCH = 64
_QUALITY = 95


@dataclass(frozen=True)
class _Take:
    """One clip to write.

    Attributes:
        name: name of its folder and annotation.
        rows: rows of the table of faces.
        root: frame root.
        first: number of the first frame.
        more_lines: annotation lines beyond the number of frames; may be negative.
        missing: challenges that do not have it.
        moved: it is in the other split of ``VA``.
        start: text before the header: a byte order mark or nothing.
        line_end: line end of the annotation.
        end: text after the last line: blank lines or nothing.
    """

    name: str
    rows: np.ndarray
    root: str = ROOTS[0]
    first: int = 1
    more_lines: int = 0
    missing: frozenset[Challenge] = frozenset()
    moved: bool = False
    start: str = ""
    line_end: str = "\n"
    end: str = ""

    @property
    def numbers(self) -> np.ndarray:
        """(n,) frame numbers."""
        return self.first + np.arange(len(self.rows))


def write_affwild2(folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
    """Write annotations, crops, lists of the test sets and the template of a submission.

    Action units, valence and arousal are written if the faces have labels of these tasks.

    With faults: two frame roots, several persons of one video, frames without a crop, stretches without a label, up to
    two annotation lines more or one fewer than frames, a byte order mark, CRLF, blank lines at the end, in the test set
    a clip whose names grow from five digits to six, a clip that is not in each challenge, and one that is in train of
    one challenge and in val of another. Frames without an image or a label are those of ``faces``.

    Raises:
        DataError: if the faces do not have the eight classes of the challenge.

    Reference: the layout as read by the public code of ABAW teams, among it
    https://github.com/av-savchenko/face-emotion-recognition (``src/ABAW/ABAW6``).
    """
    if sorted(faces.classes) != sorted(CLASSES):
        raise DataError(f"affwild2: classes must be {', '.join(CLASSES)}, not {', '.join(faces.classes)}")
    table = faces.table()
    lines = _lines(faces)
    video = 0
    for split, labels_folder in SPLITS.items():
        takes, video = _takes(table, split, video, faults)
        for take in takes:
            for challenge in lines.keys() - take.missing if labels_folder else ():
                moved = {"train": SPLITS["val"], "val": SPLITS["train"]}[split]
                in_folder = moved if take.moved and challenge is VA else labels_folder
                path = folder / annotation_folder(challenge) / in_folder / f"{take.name}.txt"
                _write_labels(path, take, challenge, lines[challenge][take.rows].tolist())
            yield from _write_crops(folder / take.root / take.name, faces, take)
        if not labels_folder:
            _write_test_lists(folder, takes, lines)


def annotation_folder(challenge: Challenge) -> str:
    """Return the folder of the annotation of a challenge, below the root."""
    return f"6th ABAW Annotations/{challenge.folders[0]}"


def release_list(challenge: Challenge) -> str:
    """Return the list of the test set of a challenge, below the root."""
    return f"names_of_videos_in_each_test_set/{_LISTED[challenge]}_Challenge_test_set_release.txt"


def _lines(faces: FaceDataset) -> dict[Challenge, np.ndarray]:
    """Return the annotation line of each row, (N,) str, for each challenge that the faces have labels of."""
    label = np.array([*map(CLASSES.index, faces.classes), UNLABELLED])[faces.table().label]
    lines = {EXPR: label.astype(np.str_)}
    for challenge in (AU, VA):
        found = faces.task_labels(challenge.task)
        if found is not None and set(challenge.parts) <= set(found.names):
            values = found.values[:, [found.names.index(name) for name in challenge.parts]]
            texts = np.char.mod("%.3g" if challenge is VA else "%d", np.nan_to_num(values, nan=challenge.unlabelled))
            lines[challenge] = np.array([",".join(row) for row in texts.tolist()])
    return lines


def _takes(table: FrameTable, split: str, video: int, faults: bool) -> tuple[list[_Take], int]:
    """Return the clips of a split, and the number of videos so far."""
    chosen = np.flatnonzero(table.split == split)
    starts = np.flatnonzero(np.r_[True, table.clip[chosen][1:] != table.clip[chosen][:-1]]) if len(chosen) else []
    takes = []
    for index, rows in enumerate(np.split(chosen, starts[1:]) if len(chosen) else ()):
        shared = faults and index < len(_SUFFIXES)
        video += not shared or _NEW_VIDEO[index]
        name = f"video{video:03d}{_SUFFIXES[index] if shared else ''}"
        takes.append(_uneven(name, rows, index, tested=not SPLITS[split]) if faults else _Take(name, rows))
    return takes, video


def _uneven(name: str, rows: np.ndarray, index: int, tested: bool) -> _Take:
    kind = index % len(_MORE_LINES)
    return _Take(
        name=name,
        rows=rows,
        root=ROOTS[kind == _SECOND_ROOT],
        first=_LATE if tested and kind == _LATE_START else 1,
        more_lines=_MORE_LINES[kind],
        missing=frozenset(challenge for challenge, number in _NOT_IN.items() if number == index),
        moved=index == _OTHER_SPLIT,
        start="\ufeff" if kind == _BOM else "",
        line_end="\r\n" if kind == _CRLF else "\n",
        end="\n\n" if kind == _BLANK_LINES else "",
    )


def _write_labels(path: Path, take: _Take, challenge: Challenge, given: list[str]) -> None:
    """Write an annotation; a line beyond the last frame repeats the last label."""
    given = given[: take.more_lines] if take.more_lines < 0 else given + given[-1:] * take.more_lines
    lines = [",".join(challenge.parts), *given]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = take.start + "".join(line + take.line_end for line in lines) + take.end
    path.write_bytes(text.encode())


def _write_crops(folder: Path, faces: FaceDataset, take: _Take) -> Iterator[int]:
    folder.mkdir(parents=True)
    for start in range(0, len(take.rows), _BATCH):
        images = faces.images(take.rows[start : start + _BATCH])
        for number, image in zip(take.numbers[start:].tolist(), images, strict=False):
            if image is not None:
                _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                (folder / usual_name(number)).write_bytes(data.tobytes())
        yield len(images)


def _write_test_lists(folder: Path, takes: list[_Take], challenges: Iterable[Challenge]) -> None:
    """Write the clips of the test sets, and a submission with the first class for every frame."""
    header = f"image_location,{','.join(CLASSES)}"
    rows = [f"{take.name}/{usual_name(number)},0" for take in takes for number in take.numbers.tolist()]
    lists = {release_list(each): [take.name for take in takes if each not in take.missing] for each in challenges}
    for name, lines in {**lists, TEMPLATE: [header, *rows]}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes("".join(f"{line}\n" for line in lines).encode())
