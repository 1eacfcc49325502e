"""Arrays that are in memory already, as a data set that a grid can run on."""

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
    """Write features to a file, and give the data set that reads it: ``bench(datasets=[from_arrays(...)])``.

    A file, since other processes and machines have to read them, and a run that goes on tomorrow too.

    Args:
        path: the .npz file to write; replaced where it is there.
        views: (N, D_v) floats by name of view; a row of NaN is a missing view.
        label: (N,) class names, or numbers into ``classes``; ``-1`` or an empty name is unlabelled.
        classes: names in the order of the numbers.
        clip: (N,) the frames of one person in one video; without it every row stands alone.
        frame: (N,) whole numbers, rising in a clip.
        subject: (N,) who it is.
        split: (N,) ``train``, ``val`` or ``test``.
        video: (N,) the raw video of the clip.

    Returns:
        The data set as a config names it: ``{"type": "embeddings", "path": ...}``.

    Raises:
        DataError: if the arrays do not fit together.
        StorageError: if the file cannot be written.
    """
    place = Path(path).expanduser()
    if place.suffix != ".npz":
        raise DataError(f"{place}: features are written to a .npz file")
    columns = {"classes": classes, "clip": clip, "frame": frame, "subject": subject, "split": split, "video": video}
    given = {name: np.asarray(column) for name, column in columns.items() if column is not None}
    clash = sorted(set(views) & {"label", *columns})
    if clash:
        raise DataError(f"{place}: a view cannot be called {clash[0]!r}: that is the name of a column")
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"label": np.asarray(label), **given}
    arrays.update({name: np.asarray(view) for name, view in views.items()})
    np.savez(buffer, **arrays)
    write_file(place, buffer.getvalue())
    spec = {"type": "embeddings", "path": str(place.resolve())}
    DATASETS.build(Spec("embeddings", {"path": spec["path"]})).table()  # what does not fit is told now
    return spec
