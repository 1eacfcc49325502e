"""Report how many frames of each aligned input have a face, as a CSV file and a chart."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.errors import printable
from fusionkit.media.align import AlignedInput, AlignOutcome
from fusionkit.media.crops import CHART
from fusionkit.storage.artifact import csv_bytes, write_file

COLUMNS = (
    *("input", "clip", "frames_read", "frames_with_face", "coverage", "first", "last", "longest_gap"),
    *("seconds", "rate", "faces_found", "faces_dropped", "turned", "faults"),
)
_LABEL = 48  # characters of a name in the chart
_MAX_BARS = 60  # clips in the chart, those with the lowest coverage


def write_coverage(outcomes: Sequence[AlignOutcome], out: Path) -> None:
    """Write ``coverage.csv``, one row per clip or input without a clip, and ``coverage.png``.

    ``rate`` is the number of frames per second, empty where it varies or is unknown. ``turned`` is the number of
    degrees by which frames were turned clockwise until faces were upright.

    Both include the inputs that earlier runs have aligned into the same folder.

    Raises:
        StorageError: if they cannot be written.
    """
    names = {outcome.name for outcome in outcomes}
    earlier = [
        AlignOutcome(Path(result.source), name, result, True, result.faults)
        for name, result in AlignedInput.read_all(out).items()
        if name not in names
    ]
    every = [*outcomes, *earlier]
    write_file(out / "coverage.csv", csv_bytes(COLUMNS, [row for outcome in every for row in _rows(outcome)]))
    write_file(out / CHART, _chart(every))


def _rows(outcome: AlignOutcome) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of one input; ``longest_gap`` counts frames before the first and after the last crop too."""
    row: dict[str, Any] = {"input": str(outcome.path), "faults": "; ".join(outcome.faults)}
    result = outcome.result
    if result is None:
        yield row
        return
    row |= {"frames_read": result.frames, "seconds": round(result.seconds, 3), "turned": result.turn}
    row |= {"rate": None if result.rate is None else round(result.rate, 3)}
    row |= {"faces_found": result.faces, "faces_dropped": result.dropped}
    if not result.clips:
        yield {**row, "frames_with_face": 0, "coverage": 0.0, "longest_gap": result.end - result.first + 1}
    for clip in result.clips:
        yield {
            **row,
            "clip": clip.clip,
            "frames_with_face": clip.frames,
            "coverage": round(clip.frames / result.frames, 4),
            "first": clip.runs[0][0],
            "last": clip.runs[-1][1],
            "longest_gap": max(_gaps(clip.runs, result.first, result.end)),
        }


def _gaps(runs: Iterable[Sequence[int]], start: int, last_frame: int) -> Iterator[int]:
    end = start - 1
    for first, last in runs:
        yield first - end - 1
        end = last
    yield last_frame - end


def _label(name: str) -> str:
    """Return the name of a clip for the chart; a long one is cut."""
    text = printable(name)
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 3]}..."


def _chart(outcomes: Sequence[AlignOutcome]) -> bytes:
    """Draw one bar per clip with the frames that have a face, from the first frame of the video to the last."""
    from matplotlib.figure import Figure

    bars: list[tuple[str, float, list[tuple[float, float]]]] = []
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            bars.append((f"{outcome.name} (unreadable)", 0.0, []))
            continue
        if not result.clips:
            bars.append((outcome.name, 0.0, []))
        for clip in result.clips:
            length = result.end - result.first + 1
            spans = [((first - result.first) / length, (last - first + 1) / length) for first, last in clip.runs]
            bars.append((clip.clip, clip.frames / result.frames, spans))
    shown = sorted(bars, key=lambda bar: bar[1])[:_MAX_BARS]
    figure = Figure(figsize=(8, 1.2 + 0.24 * max(len(shown), 1)), layout="constrained")
    axes = figure.add_subplot()
    for y, (_, share, spans) in enumerate(shown):
        axes.broken_barh([(0, 1)], (y - 0.35, 0.7), facecolors="#e8e8e8")
        axes.broken_barh(spans, (y - 0.35, 0.7), facecolors="#0072b2")
        axes.text(1.01, y, f"{share:.1%}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [_label(name) for name, _, _ in shown], fontsize=8, parse_math=False)
    axes.set(xlim=(0, 1.1), xlabel="share of the video", ylim=(len(shown) - 0.5, -0.5) if shown else (1, 0))
    axes.spines[["top", "right", "left"]].set_visible(False)
    note = f"; the {len(shown)} clips of {len(bars)} with the lowest coverage" if len(bars) > len(shown) else ""
    axes.set_title(f"frames with a face{note}", fontsize=10, loc="left")
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a script that the font lacks
        figure.savefig(data, format="png", dpi=110)
    return data.getvalue()
