"""Annotation and crops of Aff-Wild2, written by hand."""

from pathlib import Path

import cv2
import numpy as np

from fusionkit_datasets.affwild2_labels import CLASSES

HEADER = ",".join(CLASSES)
EXPR = "6th ABAW Annotations/EXPR_Recognition_Challenge"


def annotate(root: Path, clip: str, labels: list[int], split: str = "Train_Set") -> Path:
    path = root / EXPR / split / f"{clip}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *map(str, labels)]) + "\n", encoding="utf-8")
    return path


def crop(root: Path, clip: str, numbers: list[int], frames: str = "cropped_aligned") -> Path:
    """Images whose one grey value is their frame number, modulo 251."""
    folder = root / frames / clip
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image(folder / f"{number:05d}.jpg", number)
    return folder


def image(path: Path, value: int) -> None:
    good, data = cv2.imencode(path.suffix, np.full((4, 6, 3), value % 251, np.uint8))
    assert good
    path.write_bytes(data.tobytes())
