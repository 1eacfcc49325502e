"""Contact sheet of photos and videos: frames with faces, regions and landmarks, and the views cut from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fusionkit.config.views import RegionSet
from fusionkit.data.contact_sheet import build_extractor, draw_block
from fusionkit.data.drawing import BACKGROUND, GAP, MARGIN, legend_of, png_problems, save_sheet
from fusionkit.errors import ConfigError, DataError
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.inputs import MediaInput, find_inputs
from fusionkit.media.turns import upright
from fusionkit.media.video import MediaFrame
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec

TILE = 336  # px; larger than for a data set, since a photo shows more than a face
MAX_PHOTO_ROWS, MAX_VIDEOS = 4, 12


def write_media_sheet(
    inputs: Sequence[str | Path],
    extractor: Spec,
    views: RegionSet,
    count: int,
    path: Path,
    rotate: int | None = None,
) -> list[str]:
    """Write a PNG: a row of frames per video, photos in rows of their own, and below each a row per view.

    Args:
        inputs: photos, videos and folders of them.
        extractor: region extractor.
        views: views to cut.
        count: frames per video, evenly spaced, and photos per row.
        path: path of the PNG.
        rotate: degrees by which frames are turned clockwise; None: found for each input where the extractor detects
            faces.

    Returns:
        A line for each input that could not be shown or was turned, and one if only a sample is shown.

    Raises:
        ConfigError: if a component, view or path is invalid.
        DataError: if nothing can be shown.
        StorageError: if the picture cannot be written.
    """
    problems = EXTRACTORS.problems(extractor) + png_problems(path)
    if problems:
        raise ConfigError(problems)
    built = build_extractor(extractor, views)
    found, notes = find_inputs(inputs)
    options = DetectionOptions(built if built.finds_faces else None, rotate=rotate)
    blocks = []
    for label, frames in _labelled_rows(found, count, options, notes):
        width = MARGIN + max(len(frames), 2) * (TILE + GAP)
        blocks.append(draw_block(frames, built, views, label, width, TILE))
    if not blocks:
        raise DataError(f"no input can be shown: {notes[0]}")
    width = max(block.shape[1] for block in blocks)
    padded = [
        np.pad(block, ((0, 0), (0, width - block.shape[1]), (0, 0)), constant_values=BACKGROUND) for block in blocks
    ]
    save_sheet(np.concatenate([legend_of(built, width), *padded]), path)
    return notes


def evenly_spaced(frames: Iterable[MediaFrame], count: int) -> list[MediaFrame]:
    """Return at most ``count`` frames at equal distances, at least ``count`` / 2 of them if there are more.

    The number of frames is known only at the end; at most ``count`` + 1 of them are held in memory.
    """
    kept: list[MediaFrame] = []
    step = 1
    for index, frame in enumerate(frames):
        if index % step == 0:
            kept.append(frame)
        if len(kept) > count:
            kept, step = kept[::2], step * 2
    return kept


def _labelled_rows(
    inputs: Sequence[MediaInput], count: int, options: DetectionOptions, notes: list[str]
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Yield the label and the frames of each row; append a line to ``notes`` for each unreadable or turned input."""
    photos = _sample([item for item in inputs if not item.is_video], MAX_PHOTO_ROWS * count, "photos", notes)
    videos = _sample([item for item in inputs if item.is_video], MAX_VIDEOS, "videos", notes)
    row: list[np.ndarray] = []
    for item in photos:
        try:
            row += [frame.image for frame in _upright(item, options, notes).open().frames()]
        except DataError as error:
            notes.append(str(error))
        if len(row) == count:
            yield ["photos"], row
            row = []
    if row:
        yield ["photos"], row
    for item in videos:
        try:
            video = _upright(item, options, notes).open()
            frames = evenly_spaced(video.frames(), count)
        except DataError as error:
            notes.append(str(error))
            continue
        notes += video.faults
        label = [item.name[:13], f"frames {frames[0].number}", f"to {frames[-1].number}"]
        yield label, [frame.image for frame in frames]


def _upright(item: MediaInput, options: DetectionOptions, notes: list[str]) -> MediaInput:
    found = upright(item, options)
    if found.turn:
        notes.append(f"{item.path} is turned by {found.turn} degrees")
    return found


def _sample(inputs: Sequence[MediaInput], limit: int, noun: str, notes: list[str]) -> Sequence[MediaInput]:
    if len(inputs) <= limit:
        return inputs
    notes.append(f"{limit} of {len(inputs):,} {noun} are shown")
    return [inputs[index] for index in np.linspace(0, len(inputs) - 1, limit).round().astype(int).tolist()]
