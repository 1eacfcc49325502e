"""How expressions are spelled: folder names and a data set's own words, brought to one name each."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

CONTEMPT = "Contempt"

# The eight names of the ABAW expression challenge, and contempt, which it has no class for.
SPELLINGS: dict[str, str] = {
    "neutral": "Neutral",
    "anger": "Anger",
    "angry": "Anger",
    "disgust": "Disgust",
    "disgusted": "Disgust",
    "fear": "Fear",
    "fearful": "Fear",
    "happiness": "Happiness",
    "happy": "Happiness",
    "sadness": "Sadness",
    "sad": "Sadness",
    "surprise": "Surprise",
    "surprised": "Surprise",
    "contempt": CONTEMPT,
    "other": "Other",
}


def spelled(word: str) -> str | None:
    """The name behind a spelling (``angry``, ``Anger`` and ``ANGER`` are Anger); None for other words."""
    return SPELLINGS.get(unicodedata.normalize("NFC", word).strip().casefold())


def own_spelling(word: str, classes: Iterable[str]) -> str | None:
    """The class of a data set that a word means, spelled as the data set spells it; None if it means none."""
    meant = spelled(word)
    return next((name for name in classes if meant is not None and spelled(name) == meant), None)


def abaw_names(classes: Iterable[str]) -> dict[str, str | None]:
    """Class name to ABAW name, for class names that somebody chose; those that mean none of the eight are absent."""
    found = {name: spelled(name) for name in classes}
    return {name: "Other" if meant == CONTEMPT else meant for name, meant in found.items() if meant is not None}
