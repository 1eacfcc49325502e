"""Write a view of every frame of a data set to files, as a data set of its own (the paper's extracted features).

Files are written to ``DIR.part``, which is renamed when it is complete; an interrupted run resumes from there.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from fusionkit._version import __version__
from fusionkit.config.views import FACE, View
from fusionkit.contracts.dataset import Export, FaceDataset
from fusionkit.contracts.extractor import Extractor
from fusionkit.data.contact_sheet import build_extractor, write_contact_sheet
from fusionkit.data.layouts import Form, check_free, export_of, reader
from fusionkit.engine.embed import BATCH, locate, read_batches
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.registry import EXTRACTORS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import unwritable, write_file
from fusionkit.storage.identity import component_identity, digest, json_text

REVISION = 1  # raise when the same request would write other bytes
JPEG_QUALITY = 95
STATES = {"w": "written", "i": "without image", "r": "region not found"}

_STATE = ".state"  # one letter of STATES per row, appended once the file of the row is written
_REQUEST = ".request.json"
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ViewRequest:
    """A view to write.

    Attributes:
        dataset: source data set.
        view: view to cut.
        extractor: region extractor.
        splits: official splits to write, which must include train; empty: all frames.
        size: side in px to which each view is resized, ignoring its aspect ratio, as the authors of the paper do; None:
            original size.
        form: file format; ``same``: that of each source file.
    """

    dataset: Spec
    view: View
    extractor: Spec
    splits: tuple[str, ...] = ()
    size: int | None = None
    form: Form = "same"

    def identity(self, source: Source) -> str:
        """Return a hash of everything that determines the files."""
        extractor = None if self.view == FACE else component_identity(EXTRACTORS, self.extractor)
        options = [str(self.view), extractor, list(self.splits), self.size, self.form, JPEG_QUALITY]
        return digest([REVISION, source.fingerprint, *options])


@dataclass(frozen=True)
class WrittenViews:
    """Views that were written.

    Attributes:
        reader: spec that reads them.
        own_layout: whether they are in the layout of the source; otherwise there is one folder per class.
        counts: frames by split and state, see ``STATES``.
    """

    reader: Spec
    own_layout: bool
    counts: dict[str, dict[str, int]]

    def table(self) -> Table:
        """Return the counts as a table with a row per split."""
        table = Table(box=None, header_style="bold")
        table.add_column("split")
        for state in STATES.values():
            table.add_column(state, justify="right")
        for split, counts in self.counts.items():
            table.add_row(split or "no split", *(f"{counts[state]:,}" for state in STATES.values()))
        return table


def write_views(request: ViewRequest, folder: Path, progress: Progress) -> WrittenViews:
    """Write the views, their annotation, ``views.json`` and ``preview.png``; resume an interrupted run.

    Args:
        request: view to write.
        folder: new or empty folder.
        progress: receives the number of frames written.

    Raises:
        ConfigError: if the request is invalid, or the folder exists and is not empty.
        DataError: if the data cannot be read, or no frame has the view.
        StorageError: if the folder cannot be written.
    """
    check_free(folder)
    source = open_source(request.dataset, None)
    extractor = None if request.view == FACE else build_extractor(request.extractor, (request.view,))
    rows = _rows(request, source)
    export, name = export_of(source, rows, request.form)
    partial = folder.with_name(f"{folder.name}.part")
    try:
        _begin(partial, request.identity(source), export)
        states = _write_frames(partial, request, source, rows, extractor, export, progress)
        if b"w" not in states:
            shutil.rmtree(partial)
            raise DataError(f"no frame of {request.dataset} has the view {str(request.view)!r}: nothing is written")
        counts = _counts(source.table.split[rows], states)
        written = WrittenViews(reader(source, name, export, str(folder)), name == source.spec.name, counts)
        shown = () if request.view == FACE else (request.view,)
        write_contact_sheet(request.dataset, request.extractor, shown, 8, partial / "preview.png")
        write_file(partial / "views.json", _provenance(request, source, written).encode())
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
        (folder / _STATE).unlink()
        (folder / _REQUEST).unlink()
    except OSError as error:
        raise unwritable(partial, error) from error
    return written


def _rows(request: ViewRequest, source: Source) -> np.ndarray:
    """Return (n,) int64: the rows to write."""
    if type(source.dataset).read is FaceDataset.read:
        raise ConfigError(f"data set {source.spec} has ready embeddings and no images")
    if not request.splits:
        return np.arange(len(source.table))
    available = [split for split in _SPLITS if (source.table.split == split).any()]
    for split in request.splits:
        if split not in available:
            listed = ", ".join(available) or "none"
            raise ConfigError(
                f"data set {source.spec} has no split {split!r}{did_you_mean(split, available)}; "
                f"available official splits: {listed}"
            )
    if "train" not in request.splits:
        raise ConfigError(
            f"--split {','.join(request.splits)} must include train",
            hint="a data set without train cannot be read: --split train,val",
        )
    return np.flatnonzero(np.isin(source.table.split, request.splits))


def _begin(partial: Path, identity: str, export: Export) -> None:
    """Create the folder, its sub-folders and the annotation, unless an earlier run of the same request did."""
    if (partial / _REQUEST).exists():
        if json.loads((partial / _REQUEST).read_text(encoding="utf-8")) != identity:
            hint = "delete it, or choose another --out"
            raise ConfigError(f"{partial} contains an unfinished run of another request", hint=hint)
    else:
        check_free(partial)
        write_file(partial / _REQUEST, json.dumps(identity).encode())
    if (partial / _STATE).exists():
        return
    for parent in sorted({path.rpartition("/")[0] for path in export.paths}):
        (partial / parent).mkdir(parents=True, exist_ok=True)
    for path, file in export.files.items():
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, partial / path)
    (partial / _STATE).touch()


def _write_frames(
    partial: Path,
    request: ViewRequest,
    source: Source,
    rows: np.ndarray,
    extractor: Extractor | None,
    export: Export,
    progress: Progress,
) -> bytes:
    """Write the remaining files; return a letter of ``STATES`` per row."""
    known = (partial / _STATE).read_bytes()
    # Whole batches are repeated, so that a resumed run reads the same batches as an uninterrupted one.
    done = len(known) // BATCH * BATCH if len(known) < len(rows) else len(rows)
    (partial / _STATE).write_bytes(known[:done])
    with progress.stage("cut", len(rows), "frames"), (partial / _STATE).open("ab", buffering=0) as log:
        progress.advance(done)
        for start, images in read_batches(source, rows[done:]):
            views = locate(extractor, images).views(request.view)
            letters = ""
            for index in range(len(images)):
                view = views.get(index)
                row = done + start + index
                letters += "w" if view is not None else "r" if index in views else "i"
                path = partial / export.paths[row]
                if view is not None:
                    path.write_bytes(_encoded(_resized(view, request.size), path))
                elif not export.annotated[row]:
                    path.touch()
            log.write(letters.encode())
            progress.advance(len(images))
    return (partial / _STATE).read_bytes()


def _resized(view: np.ndarray, size: int | None) -> np.ndarray:
    import cv2

    if size is None:
        return view
    interpolation = cv2.INTER_AREA if max(view.shape[:2]) > size else cv2.INTER_CUBIC
    resized: np.ndarray = cv2.resize(view, (size, size), interpolation=interpolation)
    return resized


def _encoded(view: np.ndarray, path: Path) -> bytes:
    import cv2

    suffix = path.suffix.lower()
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded, data = cv2.imencode(suffix, view[..., ::-1], options)
    if not encoded:
        raise DataError(f"{path}: the view could not be encoded")
    content: bytes = data.tobytes()
    return content


def _counts(splits: np.ndarray, states: bytes) -> dict[str, dict[str, int]]:
    letters = np.frombuffer(states, "S1")
    return {
        split: {
            state: int(((splits == split) & (letters == letter.encode())).sum()) for letter, state in STATES.items()
        }
        for split in ("", *_SPLITS)
        if (splits == split).any()
    }


def _provenance(request: ViewRequest, source: Source, written: WrittenViews) -> str:
    options = {**written.reader.options, "root": "."}
    content = {
        "fusionkit": __version__,
        "spec": str(request.dataset),
        "data": source.fingerprint,
        "extractor": None if request.view == FACE else str(request.extractor),
        "view": str(request.view),
        "splits": list(request.splits),
        "size": request.size,
        "format": request.form,
        "jpeg_quality": JPEG_QUALITY,
        "identity": request.identity(source),
        "read_with": str(Spec(written.reader.name, options)),
        "counts": written.counts,
    }
    return json_text(content, indent=2) + "\n"
