"""A view of every frame of a data set, written to files: the paper's data set of extracted features.

The work goes on in ``DIR.part``, which is renamed when it is whole; an interrupted run is taken up where it stopped.
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
from fusionkit.data.contact_sheet import write_contact_sheet
from fusionkit.data.layouts import Form, check_free, export_of, reader
from fusionkit.engine.embed import BATCH, locate, read_batches
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.registry import EXTRACTORS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import unwritable, write_file
from fusionkit.storage.identity import component_identity, digest

REVISION = 1  # raise when the same request writes other bytes than before
QUALITY = 95
STATES = {"w": "written", "i": "without image", "r": "region not found"}

_STATE = ".state"  # one letter a row, appended when the row's file is there
_REQUEST = ".request.json"
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ViewRequest:
    """What is written.

    Attributes:
        dataset: of which.
        view: what is cut.
        extractor: says where the regions are.
        splits: official splits to write, train among them; empty: all frames.
        size: side in px to which each view is brought, its aspect not kept, as the authors do; None: as it is cut.
        form: ``same``: the format of each source file; else of all.
    """

    dataset: Spec
    view: View
    extractor: Spec
    splits: tuple[str, ...] = ()
    size: int | None = None
    form: Form = "same"

    def identity(self, source: Source) -> str:
        """Hash of what decides the files."""
        where = None if self.view == FACE else component_identity(EXTRACTORS, self.extractor)
        chosen = [str(self.view), where, list(self.splits), self.size, self.form, QUALITY]
        return digest([REVISION, source.fingerprint, *chosen])


@dataclass(frozen=True)
class WrittenViews:
    """What was written.

    Attributes:
        reader: the SPEC that reads it.
        own_layout: whether it is that of the source, not one folder a class.
        counts: frames by split and by what became of them, as in ``STATES``.
    """

    reader: Spec
    own_layout: bool
    counts: dict[str, dict[str, int]]

    def table(self) -> Table:
        """The counts, a row a split."""
        table = Table(box=None, header_style="bold")
        table.add_column("split")
        for state in STATES.values():
            table.add_column(state, justify="right")
        for split, counts in self.counts.items():
            table.add_row(split or "no split", *(f"{counts[state]:,}" for state in STATES.values()))
        return table


def write_views(request: ViewRequest, folder: Path, progress: Progress) -> WrittenViews:
    """Write the views, their annotation, ``views.json`` and ``preview.png``; or go on where an earlier run stopped.

    Args:
        request: what.
        folder: new or empty.
        progress: told of the frames.

    Raises:
        ConfigError: if the request is wrong, or something is there.
        DataError: if the data cannot be read, or none of the frames has the view.
        StorageError: if it cannot be written.
    """
    check_free(folder)
    source = open_source(request.dataset, None)
    extractor = _extractor(request)
    rows = _rows(request, source)
    export, name = export_of(source, rows, request.form)
    part = folder.with_name(f"{folder.name}.part")
    try:
        _begin(part, request.identity(source), export)
        state = _write_frames(part, request, source, rows, extractor, export, progress)
        counts = _counts(source.table.split[rows], state)
        if b"w" not in state:
            shutil.rmtree(part)
            raise DataError(f"no frame of {request.dataset} has the view {str(request.view)!r}: nothing is written")
        read_with = reader(source, name, export, str(folder))
        written = WrittenViews(read_with, name == source.spec.name, counts)
        shown = () if request.view == FACE else (request.view,)
        write_contact_sheet(request.dataset, request.extractor, shown, 8, part / "preview.png")
        write_file(part / "views.json", _provenance(request, source, written).encode())
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
        (folder / _STATE).unlink()
        (folder / _REQUEST).unlink()
    except OSError as error:
        raise unwritable(part, error) from error
    return written


def _extractor(request: ViewRequest) -> Extractor | None:
    if request.view == FACE:
        return None
    extractor: Extractor = EXTRACTORS.build(request.extractor)
    for region in sorted(set(request.view.regions) - set(extractor.regions)):
        known = extractor.regions
        raise ConfigError(f"extractor {request.extractor} has no region {region!r}{did_you_mean(region, known)}")
    return extractor


def _rows(request: ViewRequest, source: Source) -> np.ndarray:
    """(n,) int64: the rows to write."""
    if type(source.dataset).read is FaceDataset.read:
        raise ConfigError(f"data set {source.spec} has ready embeddings and no images")
    if not request.splits:
        return np.arange(len(source.table))
    there = [split for split in _SPLITS if (source.table.split == split).any()]
    for split in request.splits:
        if split not in there:
            have = ", ".join(there) or "no official split"
            raise ConfigError(
                f"data set {source.spec} has no split {split!r}{did_you_mean(split, there)}; it has {have}"
            )
    if "train" not in request.splits:
        raise ConfigError("--split lacks train", hint="a data set without it cannot be read back: --split train,val")
    return np.flatnonzero(np.isin(source.table.split, request.splits))


def _begin(part: Path, identity: str, export: Export) -> None:
    """Make the folder with its sub-folders and annotation, as far as an earlier run of the same request did not."""
    if (part / _REQUEST).exists():
        if json.loads((part / _REQUEST).read_text()) != identity:
            hint = "delete it, or name another --out"
            raise ConfigError(f"{part} holds an unfinished run of something else", hint=hint)
    else:
        check_free(part)
        write_file(part / _REQUEST, json.dumps(identity).encode())
    if (part / _STATE).exists():
        return
    for place in sorted({path.rpartition("/")[0] for path in export.paths}):
        (part / place).mkdir(parents=True, exist_ok=True)
    for place, file in export.files.items():
        (part / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, part / place)
    (part / _STATE).touch()


def _write_frames(
    part: Path,
    request: ViewRequest,
    source: Source,
    rows: np.ndarray,
    extractor: Extractor | None,
    export: Export,
    progress: Progress,
) -> bytes:
    """Write what is not there yet; a letter a row of what became of it."""
    known = (part / _STATE).read_bytes()
    done = len(known) // BATCH * BATCH if len(known) < len(rows) else len(rows)  # whole batches, as in one run
    (part / _STATE).write_bytes(known[:done])
    with progress.stage("cut", len(rows), "frames"), (part / _STATE).open("ab", buffering=0) as log:
        progress.advance(done)
        for start, images in read_batches(source, rows[done:]):
            batch = locate(extractor, images)
            views = batch.views(request.view)
            letters = ""
            for place in range(len(images)):
                view = views.get(place)
                at = done + start + place
                letters += "w" if view is not None else "r" if place in views else "i"
                if view is not None:
                    path = part / export.paths[at]
                    path.write_bytes(_encoded(_sized(view, request.size), path))
                elif not export.annotated[at]:
                    (part / export.paths[at]).touch()
            log.write(letters.encode())
            progress.advance(len(images))
    return (part / _STATE).read_bytes()


def _sized(view: np.ndarray, size: int | None) -> np.ndarray:
    import cv2

    if size is None:
        return view
    shrinks = max(view.shape[:2]) > size
    resized: np.ndarray = cv2.resize(view, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized


def _encoded(view: np.ndarray, path: Path) -> bytes:
    import cv2

    ending = path.suffix.lower()
    how = [] if ending == ".png" else [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    good, data = cv2.imencode(ending, view[..., ::-1], how)
    if not good:
        raise DataError(f"{path}: the view could not be encoded")
    written: bytes = data.tobytes()
    return written


def _counts(splits: np.ndarray, state: bytes) -> dict[str, dict[str, int]]:
    letters = np.frombuffer(state, "S1")
    named = [split for split in ("", *_SPLITS) if (splits == split).any()]
    return {
        split: {what: int(((splits == split) & (letters == letter.encode())).sum()) for letter, what in STATES.items()}
        for split in named
    }


def _provenance(request: ViewRequest, source: Source, written: WrittenViews) -> str:
    place = {**written.reader.options, "root": "."}
    about = {
        "fusionkit": __version__,
        "spec": str(request.dataset),
        "data": source.fingerprint,
        "extractor": None if request.view == FACE else str(request.extractor),
        "view": str(request.view),
        "splits": list(request.splits),
        "size": request.size,
        "format": request.form,
        "jpeg_quality": QUALITY,
        "identity": request.identity(source),
        "read_with": str(Spec(written.reader.name, place)),
        "counts": written.counts,
    }
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"
