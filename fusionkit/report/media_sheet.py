"""A sheet of photos and videos: frames with faces, regions and landmarks, and each view as it is cut from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fusionkit.contracts.image_file import load_image
from fusionkit.errors import ConfigError, DataError
from fusionkit.media.inputs import MediaInput, find_inputs
from fusionkit.media.video import MediaFrame, Video
from fusionkit.registry import EXTRACTORS
from fusionkit.report.contact_sheet import block_of, built_for
from fusionkit.report.sheet import GAP, MARGIN, legend_of, save_sheet
from fusionkit.spec import Spec
from fusionkit.views import RegionSet

TILE = 336  # a photo shows more than a face


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
        A line for each input that could not be shown.

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
    found, faults = find_inputs(inputs)
    rows = _rows(found, count, faults)
    if not rows:
        raise DataError(f"nothing to show: {faults[0]}")
    width = MARGIN + max(len(frames) for _, frames in rows) * (TILE + GAP)
    blocks = [block_of(frames, located, views, label, width, TILE) for label, frames in rows]
    save_sheet(np.concatenate([legend_of(located, width), *blocks]), path)
    return faults


def _rows(inputs: Iterable[MediaInput], count: int, faults: list[str]) -> list[tuple[list[str], list[np.ndarray]]]:
    """Label and frames of each row; ``faults`` takes a line for each input that cannot be read."""
    photos: list[np.ndarray] = []
    rows = []
    for item in inputs:
        try:
            if not item.moving:
                photos.append(load_image(item.path))
                continue
            video = Video(item.path)
            frames = spread(video.frames(), count)
        except DataError as error:
            faults.append(str(error))
            continue
        faults += [f"{item.path}: {fault}" for fault in video.faults]
        label = [item.name[:13], f"frames {frames[0].number}", f"to {frames[-1].number}"]
        rows.append((label, [frame.image for frame in frames]))
    stills = [(["photos"], photos[start : start + count]) for start in range(0, len(photos), count)]
    return stills + rows


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
