"""Writes Aff-Wild2 anew: the annotation as it is, and where other images of the same frames go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusionkit.contracts import Export
from fusionkit_datasets.affwild2_labels import LabelFile
from fusionkit_datasets.affwild2_writer import ANNOTATIONS, ROOTS, TEST_LIST


def export_affwild2(
    crops: Sequence[str], annotated: np.ndarray, labels: Sequence[LabelFile], test_list: Path | None
) -> Export:
    """The layout of some frames.

    Args:
        crops: for each frame the path of its crop below the root: a frame root, folders, the clip, the file.
        annotated: (n,) bool: which of them have a line in the annotation.
        labels: annotation files to copy.
        test_list: the list of the test set, to be copied too; None without.
    """
    files = {f"{ANNOTATIONS}/{Path(file.path).parent.name}/{Path(file.path).name}": Path(file.path) for file in labels}
    if test_list:
        files[TEST_LIST] = test_list
    roots = sorted({crop.partition("/")[0] for crop in crops})
    return Export(crops, annotated, files, {"frames": None if set(roots) <= set(ROOTS) else roots})
