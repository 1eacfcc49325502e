"""Arrays in memory as a data set."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.errors import DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import write_file

Column = Sequence[Any] | np.ndarray


def from_arrays(
    path: str | Path,
    views: Mapping[str, np.ndarray],
    label: Column,
    *,
    classes: Sequence[str] | None = None,
    clip: Column | None = None,
    frame: Column | None = None,
    subject: Column | None = None,
    split: Column | None = None,
    video: Column | None = None,
) -> dict[str, Any]:
    """Write embeddings to a file and return the data set that reads it: ``bench(datasets=[from_arrays(...)])``.

    Args:
        path: the .npz file to write; an existing file is replaced.
        views: (N, D_v) floats by name of view; a row of NaN is a missing view.
        label: (N,) class names, or integers that index ``classes``; ``-1`` or an empty name is unlabelled.
        classes: class names; required with integer labels. Default: the sorted names in ``label``.
        clip: (N,) clip of each row: consecutive frames of one face in one video. Default: every row is a clip.
        frame: (N,) integers, position in the clip. Default: the order of the rows, from 1.
        subject: (N,) identity of the person. Default: unknown.
        split: (N,) ``train``, ``val`` or ``test``. Default: no official split.
        video: (N,) source video of the clip. Default: unknown.

    Returns:
        The data set as in a config: ``{"type": "embeddings", "path": ...}``.

    Raises:
        DataError: if the arrays do not belong together.
        StorageError: if the file cannot be written.
    """
    file = Path(path).expanduser()
    if file.suffix != ".npz":
        raise DataError(f"{file} must end in .npz")
    columns = {"classes": classes, "clip": clip, "frame": frame, "subject": subject, "split": split, "video": video}
    given = {name: np.asarray(column) for name, column in columns.items() if column is not None}
    reserved = sorted(set(views) & {"label", *columns})
    if reserved:
        raise DataError(f"{file}: a view cannot be called {reserved[0]!r}: that is the name of a column")
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"label": np.asarray(label), **given}
    arrays.update({name: np.asarray(view) for name, view in views.items()})
    np.savez(buffer, **arrays)
    write_file(file, buffer.getvalue())  # a file, since workers, other machines and later runs read the data
    spec = {"type": "embeddings", "path": str(file.resolve())}
    DATASETS.build(Spec("embeddings", {"path": spec["path"]})).table()  # raises for arrays that do not belong together
    return spec
