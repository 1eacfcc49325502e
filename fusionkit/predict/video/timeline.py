"""Draw the predictions of a clip over time: class probabilities, the label, and which frames have a face."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from fusionkit.errors import printable
from fusionkit.predict.video.result import ClipPredictions, VideoResult
from fusionkit.storage.artifact import write_file

_MAX_BINS = 1200  # of a longer clip, the mean of several frames is drawn


def write_timeline(clip: ClipPredictions, result: VideoResult, classes: tuple[str, ...], path: Path) -> None:
    """Write a timeline as PNG.

    Args:
        clip: of at least two frames, some with a face.
        result: of the input.
        classes: the C class names.
        path: of the PNG.

    Raises:
        StorageError: if it cannot be written.
    """
    from matplotlib.figure import Figure

    edges, probs, seen, unit = binned(clip, result)
    width, height = 10.0, 1.2 + 0.3 * len(classes)
    figure = Figure(figsize=(width, height))
    # Positions are computed here: a layout engine of matplotlib takes as long as all the drawing.
    left = (0.3 + 0.085 * max(4, *map(len, classes))) / width
    across = 1 - left - 0.9 / width
    axes = figure.add_axes((left, 0.5 / height, across, 0.3 * len(classes) / height))
    strip = figure.add_axes((left, 1 - 0.43 / height, across, 0.11 / height), sharex=axes)
    scale = figure.add_axes((left + across + 0.1 / width, 0.5 / height, 0.15 / width, 0.3 * len(classes) / height))
    strip.pcolormesh(edges, [0, 1], seen[None], cmap="Blues", vmin=0, vmax=1.3)
    strip.set(yticks=[0.5], yticklabels=["face"], ylim=(0, 1))
    strip.tick_params(length=0, labelbottom=False, labelsize=9)
    rows = np.arange(len(classes) + 1) - 0.5
    shade = axes.pcolormesh(edges, rows, probs.T, cmap="Blues", vmin=0, vmax=1)
    axes.set_facecolor("#dddddd")
    labels = np.nan_to_num(probs).argmax(1).astype(float)
    labels[np.isnan(probs[:, 0])] = np.nan
    axes.stairs(labels, edges, baseline=None, color="#d55e00", linewidth=1.4)
    axes.set_yticks(range(len(classes)), [printable(name) for name in classes], fontsize=9, parse_math=False)
    axes.set(ylim=(len(classes) - 0.5, -0.5), xlim=(edges[0], edges[-1]), xlabel=unit)
    figure.colorbar(shade, cax=scale, label="probability")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in label_shares(clip, classes)[:3])
    title = f"{clip.clip}: face in {result.coverage(clip):.1%} of {len(result):,} frames; {shares}"
    strip.set_title(printable(title), fontsize=10, loc="left", parse_math=False)
    for part in (strip, axes):
        part.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    write_file(path, data.getvalue())


def binned(clip: ClipPredictions, result: VideoResult) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Average a clip into k bins, one per frame where it is short enough.

    Returns:
        (k + 1,) edges of the bins, (k, C) mean probabilities, (k,) share of frames with a face, and the unit of the
        edges: ``seconds``, or ``frame`` where presentation times are unknown or not ascending.
    """
    frames = result.frames.values[clip.frames]
    times, numbers = frames["seconds"], frames["number"].astype(np.float64)
    timed = not np.isnan(times).any() and bool((np.diff(times) > 0).all())
    at = times if timed else numbers
    starts = np.unique(np.linspace(0, len(at), min(len(at), _MAX_BINS) + 1).astype(int))[:-1]
    counts = np.diff(np.append(starts, len(at)))
    probs = np.add.reduceat(clip.probs, starts) / counts[:, None]
    seen = np.add.reduceat(clip.seen.astype(float), starts) / counts
    step = float(np.median(np.diff(at)))
    return np.append(at[starts], at[-1] + step), probs, seen, "seconds" if timed else "frame"


def label_shares(clip: ClipPredictions, classes: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the share of each label among the frames with a face, in descending order, without labels of none."""
    labels = clip.probs[clip.seen].argmax(1)
    counts = np.bincount(labels, minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    return [(classes[index], counts[index] / max(len(labels), 1)) for index in order.tolist() if counts[index]]
