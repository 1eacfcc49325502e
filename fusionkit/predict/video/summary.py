"""What is said of an answered recording, in a line."""

from __future__ import annotations

import numpy as np

from fusionkit.predict.video.reading import VideoPrediction
from fusionkit.predict.video.run import VideoRun
from fusionkit.predict.video.timeline import predicted_shares

_SQUARE = 1.25  # longer side by shorter side, above which nobody calls a picture an aligned face


def line_of(answered: VideoPrediction, classes: tuple[str, ...]) -> str:
    """How many frames, and what was said of each person."""
    start = len(answered.recording.name)
    parts = []
    for clip in answered.clips:
        if not clip.seen.any():
            continue
        name = clip.clip[start:].lstrip("_")
        if answered.recording.still:
            best = int(clip.probs[0].argmax())
            said = f"{classes[best]} {clip.probs[0, best]:.0%}"
        else:
            shares = ", ".join(f"{label} {share:.0%}" for label, share in predicted_shares(clip, classes)[:3])
            said = f"face in {clip.seen.mean():.1%}; {shares}"
        parts.append(f"{name}: {said}" if name else said)
    frames = "" if answered.recording.still else f"{len(answered.footage or ()):,} frames; "
    return f"{answered.recording.path}: {frames}{' | '.join(parts) or 'no face'}"


def speed_of(answered: VideoPrediction, latency: np.ndarray) -> str:
    """Frames a second, decoding and looking for faces included, and how long a face waits for its answer."""
    rate = len(answered.footage or ()) / max(answered.seconds, 1e-9)
    if not len(latency):
        return f"{rate:.1f} frames/s"
    mean, most = 1e3 * latency.mean(), 1e3 * np.quantile(latency, 0.95)
    return f"{rate:.1f} frames/s; latency {mean:.1f} ms from decoded frame to answer, 95 % within {most:.1f} ms"


def untouched(answered: VideoPrediction, run: VideoRun) -> str:
    """A warning where whole frames were taken as aligned faces and do not look like any; else empty."""
    if not run.aligned or answered.footage is None:
        return ""
    box = answered.footage.box.values
    if not len(box):
        return ""
    width, height = box[0, 2:].tolist()
    if max(width, height) < _SQUARE * min(width, height):
        return ""
    return (
        f"{answered.recording.path}: frames of {width:.0f} x {height:.0f} px were taken as aligned faces, as they are; "
        "--detector looks for the faces first"
    )
