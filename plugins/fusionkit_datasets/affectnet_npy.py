"""AffectNet's smaller edition: an image and four NumPy files each."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fusionkit_datasets.affectnet_native import Native
from fusionkit_datasets.image_files import ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.npy_scalar import npy_scalar
from fusionkit_datasets.still import Still

FOLDERS = {"train": ("train_set",), "val": ("val_set", "valid_set")}
ENDING = "_exp.npy"


def npy_folders(top: Path) -> dict[str, Path]:
    """The folder of each split that has ``annotations``."""
    return {
        split: top / name for split, names in FOLDERS.items() for name in names if (top / name / "annotations").is_dir()
    }


def read_npy(top: Path, folders: dict[str, Path], native: Native) -> Listing:
    """The images whose ``annotations/<id>_exp.npy`` is an expression, by number of the id."""
    stills, names, faults = [], [], []
    state = hashlib.sha256()
    for split, folder in folders.items():
        for name in _annotated(folder / "annotations"):
            path = folder / "annotations" / f"{name}{ENDING}"
            data = path.read_bytes()
            try:
                label = native.label(npy_scalar(data))
            except ValueError as error:
                faults.append(f"{path}: this is not one number from 0 to 10: {error}")
                continue
            state.update(f"{split}/{name}".encode() + data)
            if label is not None:
                stills.append(Still(f"{split}/{name}", label, split, 0, str(path)))
                names.append(f"{folder.name}/images/{name}.jpg")
    return Listing(stills, ImageFiles(top, names), state.hexdigest(), native.dropped, faults)


def _annotated(folder: Path) -> list[str]:
    """The ids, numbers in their order, then names."""
    with os.scandir(folder) as entries:
        ids = [entry.name.removesuffix(ENDING) for entry in entries if entry.name.endswith(ENDING)]
    return sorted(ids, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
