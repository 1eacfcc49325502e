"""A sheet of photos and videos: frames with faces, regions and landmarks, and each view as it is cut from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fusionkit.config.views import RegionSet
from fusionkit.contracts.image_file import load_image
from fusionkit.data.contact_sheet import block_of, built_for
from fusionkit.data.drawing import GAP, MARGIN, PAPER, legend_of, save_sheet
from fusionkit.errors import ConfigError, DataError
from fusionkit.media.inputs import MediaInput, find_inputs
from fusionkit.media.video import MediaFrame, Video
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec

TILE = 336  # a photo shows more than a face
PHOTO_ROWS, VIDEOS = 4, 12  # as many are shown at most


def write_media_sheet(
    inputs: Sequence[str | Path], extractor: Spec, views: RegionSet, count: int, path: Path
) -> list[str]:
    """Write a PNG: for each video a row of frames, photos in rows of their own, and below each a row a view.

    Args:
        inputs: photos, videos and folders of them.
        extractor: says where the regions are.
        views: what to cut.
        count: frames a video, spread evenly, and photos a row.
        path: of the PNG.

    Returns:
        A line for each input that could not be shown, and one for what was left out of many.

    Raises:
        ConfigError: if a component, view or path is wrong.
        DataError: if nothing can be shown.
        StorageError: if the picture cannot be written.
    """
    problems = EXTRACTORS.problems(extractor)
    if path.suffix.lower() != ".png":
        problems.append(f"--out {path}: a contact sheet is a .png")
    if problems:
        raise ConfigError(problems)
    located = built_for(extractor, views)
    found, notes = find_inputs(inputs)
    blocks = []
    for label, frames in _rows(found, count, notes):
        width = MARGIN + max(len(frames), 2) * (TILE + GAP)
        blocks.append(block_of(frames, located, views, label, width, TILE))
    if not blocks:
        raise DataError(f"nothing to show: {notes[0]}")
    width = max(block.shape[1] for block in blocks)
    scored_rows = [((0, 0), (0, width - block.shape[1]), (0, 0)) for block in blocks]
    padded = [np.pad(block, side, constant_values=PAPER) for block, side in zip(blocks, scored_rows, strict=True)]
    save_sheet(np.concatenate([legend_of(located, width), *padded]), path)
    return notes


def _rows(inputs: Sequence[MediaInput], count: int, notes: list[str]) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Label and frames of each row, a few of many inputs; ``notes`` takes a line for each that cannot be read."""
    photos = _some([item for item in inputs if not item.moving], PHOTO_ROWS * count, "photos", notes)
    videos = _some([item for item in inputs if item.moving], VIDEOS, "videos", notes)
    row: list[np.ndarray] = []
    for item in photos:
        try:
            row.append(load_image(item.path))
        except DataError as error:
            notes.append(str(error))
        if len(row) == count:
            yield ["photos"], row
            row = []
    if row:
        yield ["photos"], row
    for item in videos:
        video = Video(item.path)
        try:
            frames = spread(video.frames(), count)
        except DataError as error:
            notes.append(str(error))
            continue
        notes += [f"{item.path}: {fault}" for fault in video.faults]
        label = [item.name[:13], f"frames {frames[0].number}", f"to {frames[-1].number}"]
        yield label, [frame.image for frame in frames]


def _some(inputs: Sequence[MediaInput], most: int, what: str, notes: list[str]) -> Sequence[MediaInput]:
    """As many at most, evenly spread."""
    if len(inputs) <= most:
        return inputs
    notes.append(f"{most} of {len(inputs):,} {what} are shown")
    return [inputs[place] for place in np.linspace(0, len(inputs) - 1, most).round().astype(int).tolist()]


def spread(frames: Iterable[MediaFrame], count: int) -> list[MediaFrame]:
    """About ``count`` frames, at equal distances over all there are, of which at most twice as many are held.

    Between ``count`` / 2 and ``count`` of them where there are more; how many there are is known only at the end.
    """
    held: list[MediaFrame] = []
    step = 1
    for place, frame in enumerate(frames):
        if place % step == 0:
            held.append(frame)
        if len(held) > count:
            held, step = held[::2], step * 2
    return held
