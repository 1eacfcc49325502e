"""Which tracks are which person's clip, and what the clips are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusionkit.media.tracking import Track


def clip_endings(tracks: Sequence[Track], least: int) -> dict[int, str]:
    """What is put behind the video's name for each track; tracks of one ending make one clip.

    Tracks that are seen in fewer frames than ``least`` are left out, unless there are no others. Of those that remain:

    - never two at a time: one person, and nothing is put behind; cuts do not make a new person;
    - two at a time at most: ``_left`` and ``_right``, as in Aff-Wild2. A track keeps its side for as long as it lasts;
      of two that share frames the one that is further left on average is left. One that shares frames with no other
      goes to the side whose mean it is nearer to;
    - more at a time: nobody can say who comes back after a cut. Each track is a clip of its own, ``_1``, ``_2``, ... in
      the order of appearance, from left to right where several appear together.

    Args:
        tracks: of one video.
        least: in frames.

    Returns:
        By the track's number.
    """
    kept = [track for track in tracks if track.frames >= least] or list(tracks)
    crowd = _most_at_once(kept)
    if crowd <= 1:
        return {track.number: "" for track in kept}
    if crowd == 2:
        sides = _sides(kept)
        return {number: "_right" if right else "_left" for number, right in sides.items()}
    order = sorted(kept, key=lambda track: (track.first, track.x))
    return {track.number: f"_{place}" for place, track in enumerate(order, 1)}


def _most_at_once(tracks: Sequence[Track]) -> int:
    changes = sorted([(track.first, 1) for track in tracks] + [(track.last + 1, -1) for track in tracks])
    return int(np.cumsum([step for _, step in changes]).max(initial=0))


def _sides(tracks: Sequence[Track]) -> dict[int, bool]:
    """Whether each track is the right one of two.

    Tracks that share frames hang together; where at most two share any frame, each such group has exactly one division
    into two sides, which is then turned the right way round.
    """
    sides: dict[int, bool] = {}
    alone = []
    for group in _groups(tracks):
        if len(group) == 1:
            alone.append(group[0])
            continue
        division = {group[0].number: False}
        further = 0.0
        for place, track in enumerate(group):
            for other in group[place + 1 :]:
                if _together(track, other):
                    division[other.number] = not division[track.number]
                    further += (other.x - track.x) * (1 if division[other.number] else -1)
        sides |= {number: right == bool(further > 0) for number, right in division.items()}
    means = [float(np.mean([t.x for t in tracks if sides.get(t.number) is right])) for right in (False, True)]
    return sides | {track.number: abs(track.x - means[1]) < abs(track.x - means[0]) for track in alone}


def _groups(tracks: Sequence[Track]) -> list[list[Track]]:
    """Tracks that share frames, directly or through others; each group in the order of appearance."""
    groups: list[list[Track]] = []
    end = -1
    for track in sorted(tracks, key=lambda track: (track.first, track.number)):
        if track.first > end:
            groups.append([])
        groups[-1].append(track)
        end = max(end, track.last)
    return groups


def _together(one: Track, other: Track) -> bool:
    return one.first <= other.last and other.first <= one.last
