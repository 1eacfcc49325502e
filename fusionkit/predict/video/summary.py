"""Summarise the result of one input in a line."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.predict.video.result import VideoResult
from fusionkit.predict.video.timeline import label_shares

_SQUARE = 1.25  # longer side by shorter side; an aligned face is square


def summary_line(result: VideoResult, task: Task) -> str:
    """Return the number of frames and the labels of each clip."""
    parts = []
    for clip in result.clips:
        if not clip.seen.any():
            continue
        if not task.exclusive:
            mean = task.words(np.nanmean(clip.probs, axis=0, keepdims=True))[0]
            coverage = f"face in {result.coverage(clip):.1%} of frames, on average"
            text = mean if result.source.is_photo else f"{coverage} {mean}"
        elif result.source.is_photo:
            best = int(clip.probs[0].argmax())
            text = f"{task.names[best]}, probability {clip.probs[0, best]:.2f}"
        else:
            shares = ", ".join(f"{label} {share:.0%}" for label, share in label_shares(clip, task.names)[:3])
            text = f"face in {result.coverage(clip):.1%} of frames, labelled {shares}"
        suffix = result.suffix(clip.clip)
        parts.append(f"{suffix}: {text}" if suffix else text)
    frames = "" if result.source.is_photo else f"{len(result):,} frames; "
    frames += f"turned by {result.source.turn} degrees; " if result.source.turn else ""
    return f"{result.source.path}: {frames}{' | '.join(parts) or 'no face found'}"


def speed_line(result: VideoResult) -> str:
    """Return the frames per second, decoding and detection included, and the latency of a stream."""
    rate = f"{len(result) / max(result.elapsed, 1e-9):.1f} frames/s"
    latency = 1e3 * result.latency.values
    if not len(latency):
        return rate
    return f"{rate}; latency {latency.mean():.1f} ms per frame, 95th percentile {np.quantile(latency, 0.95):.1f} ms"


def alignment_warning(result: VideoResult) -> str:
    """Return a warning if frames that were used as aligned faces are not square; else an empty text."""
    sizes = result.faces.values["box"]
    if result.failed or not len(sizes):
        return ""
    width, height = sizes[0, 2:].tolist()
    if max(width, height) < _SQUARE * min(width, height):
        return ""
    return (
        f"{result.source.path}: frames of {width:.0f} x {height:.0f} px are used as aligned faces; "
        "use --detector to find and align the faces"
    )
