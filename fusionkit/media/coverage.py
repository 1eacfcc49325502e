"""How much of each aligned input has a face, as a CSV file and as a picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.media.align import AlignOutcome
from fusionkit.media.align_record import AlignRecord, records
from fusionkit.storage.artifact import csv_bytes, write_file

COLUMNS = (
    *("input", "clip", "frames_read", "frames_with_face", "coverage", "first", "last", "longest_gap"),
    *("seconds", "faces_found", "faces_dropped", "faults"),
)
_SHOWN = 60  # clips in the picture, those with the least coverage


@dataclass(frozen=True)
class ClipCoverage:
    """One input, as the report shows it.

    Attributes:
        source: the file.
        name: of its clip.
        record: None where it could not be read.
        faults: what was wrong.
    """

    source: str
    name: str
    record: AlignRecord | None
    faults: Sequence[str]


def write_coverage(outcomes: Sequence[AlignOutcome], out: Path) -> None:
    """Write ``coverage.csv``, a row a clip and one for an input without any, and ``coverage.png``.

    Inputs that earlier runs have aligned into the same folder are in both.

    Raises:
        StorageError: if they cannot be written.
    """
    now = [ClipCoverage(str(one.item.path), one.item.name, one.record, one.faults) for one in outcomes]
    named = {one.name for one in now}
    held = records(out).items()
    earlier = [ClipCoverage(one.source, name, one, one.faults) for name, one in held if name not in named]
    rows = [row for one in now + earlier for row in coverage_rows(one)]
    write_file(out / "coverage.csv", csv_bytes(COLUMNS, rows))
    write_file(out / "coverage.png", _picture(now + earlier))


def coverage_rows(covered: ClipCoverage) -> Iterator[Mapping[str, Any]]:
    """What is said about one input; ``longest_gap`` is in frames, those before the first and after the last counted."""
    told: dict[str, Any] = {"input": covered.source, "faults": "; ".join(covered.faults)}
    record = covered.record
    if record is None:
        yield told
        return
    told |= {"frames_read": record.frames, "seconds": round(record.seconds, 3)}
    told |= {"faces_found": record.faces, "faces_dropped": record.dropped}
    if not record.clips:
        yield {**told, "frames_with_face": 0, "coverage": 0.0, "longest_gap": record.frames}
    for clip in record.clips:
        yield {
            **told,
            "clip": clip.clip,
            "frames_with_face": clip.frames,
            "coverage": round(clip.frames / record.frames, 4),
            "first": clip.runs[0][0],
            "last": clip.runs[-1][1],
            "longest_gap": max(_gaps(clip.runs, record.frames)),
        }


def _gaps(runs: Iterable[Sequence[int]], frames: int) -> Iterator[int]:
    end = 0
    for first, last in runs:
        yield first - end - 1
        end = last
    yield frames - end


def _picture(inputs: Sequence[ClipCoverage]) -> bytes:
    """A bar a clip: where in its video there is a face, from the first frame to the last."""
    from matplotlib.figure import Figure

    bars: list[tuple[str, float, list[tuple[float, float]]]] = []
    for one in inputs:
        record = one.record
        if record is None:
            bars.append((f"{one.name} (unreadable)", 0.0, []))
            continue
        if not record.clips:
            bars.append((one.name, 0.0, []))
        for clip in record.clips:
            spans = [((first - 1) / record.frames, (last - first + 1) / record.frames) for first, last in clip.runs]
            bars.append((clip.clip, clip.frames / record.frames, spans))
    shown = sorted(bars, key=lambda bar: bar[1])[:_SHOWN]
    figure = Figure(figsize=(8, 1.2 + 0.24 * max(len(shown), 1)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, share, spans) in enumerate(shown):
        axes.broken_barh([(0, 1)], (place - 0.35, 0.7), facecolors="#e8e8e8")
        axes.broken_barh(spans, (place - 0.35, 0.7), facecolors="#0072b2")
        axes.text(1.01, place, f"{share:.1%}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [name.replace("$", r"\$") for name, _, _ in shown], fontsize=8)
    axes.set(xlim=(0, 1.1), xlabel="share of the video", ylim=(len(shown) - 0.5, -0.5) if shown else (1, 0))
    axes.spines[["top", "right", "left"]].set_visible(False)
    left_out = f"; {len(shown)} of {len(bars)} clips, the least covered" if len(bars) > len(shown) else ""
    axes.set_title(f"frames with a face{left_out}", fontsize=10, loc="left")
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name in a script that the font does not have
        figure.savefig(data, format="png", dpi=110)
    return data.getvalue()
