"""Class names: their usual spellings, and the option ``class_map``, which renames, merges or removes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np

from fusionkit.contracts import UNLABELLED
from fusionkit.errors import ConfigError
from fusionkit.registry import did_you_mean

ClassMapOption = dict[str, str | None] | str | None

ABAW = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
REST = "*"
HINT = "class_map={contempt:Other,unsure:null}, class_map={happy:happy,*:rest} or class_map=abaw"
CONTEMPT = "Contempt"

# The eight names of the ABAW expression challenge, and contempt, which is not one of them.
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


class ClassMap:
    """A map from a data set's own classes to new ones.

    A class that the mapping does not name keeps its name, or gets that of ``*``. The frames of a class that is mapped
    to None stay in the table, unlabelled.

    Args:
        classes: the data set's own names, in the order of its label numbers.
        mapping: own name, or ``*``, to a new name or None; None changes nothing.

    Attributes:
        classes: the new names, in order of first appearance.

    Raises:
        ConfigError: if the mapping has an unknown class or an invalid name, or leaves fewer than two classes.
    """

    def __init__(self, classes: tuple[str, ...], mapping: Mapping[str, str | None] | None) -> None:
        given = dict(mapping or {})
        if problems := _problems(classes, given):
            raise ConfigError(problems, hint=HINT)
        new = [given.get(name, given.get(REST, name)) for name in classes]
        self.classes: tuple[str, ...] = tuple(dict.fromkeys(name for name in new if name is not None))
        if mapping and len(self.classes) < 2:
            left = f"only {self.classes[0]!r}" if self.classes else "no class"
            raise ConfigError(f"class_map leaves {left} of {', '.join(classes)}; at least two are needed", hint=HINT)
        codes = {name: code for code, name in enumerate(self.classes)}
        # The last entry has index -1: unlabelled stays unlabelled.
        self._codes = np.array(
            [UNLABELLED if name is None else codes[name] for name in new] + [UNLABELLED], dtype=np.int64
        )

    @classmethod
    def of(cls, classes: tuple[str, ...], option: Mapping[str, str | None] | str | None) -> ClassMap:
        """Return the map of the option ``class_map``.

        Args:
            classes: the data set's own names.
            option: a dict, its text ``{own:new,own:null}``, or ``abaw``.

        Raises:
            ConfigError: as above, or if the option is none of these, or ``abaw`` does not know a class.
        """
        if not isinstance(option, str):
            return cls(classes, option)
        if option.strip().lower() != "abaw":
            return cls(classes, _parsed(option))
        mapping = {name: "Other" if spelled(name) == CONTEMPT else spelled(name) for name in classes}
        if unknown := [name for name, new in mapping.items() if new is None]:
            names = ", ".join(map(repr, unknown))
            raise ConfigError(f"class_map=abaw: no known spelling of {', '.join(ABAW)}: {names}", hint=HINT)
        return cls(classes, mapping)

    def apply(self, label: np.ndarray) -> np.ndarray:
        """Convert label numbers.

        Args:
            label: (N,) int in -1 .. C-1, numbers of the own classes.

        Returns:
            (N,) int64; -1 for a frame that is unlabelled or whose class is removed.
        """
        return self._codes[np.asarray(label, dtype=np.int64)]

    def merge(self, votes: np.ndarray) -> np.ndarray:
        """Add up the votes for classes that are merged, without those for classes that are removed.

        Args:
            votes: (N, C) votes for the own classes.

        Returns:
            (N, C') float64.
        """
        kept = self._codes[:-1] >= 0
        return votes[:, kept] @ np.eye(len(self.classes))[self._codes[:-1][kept]]


def spelled(word: str) -> str | None:
    """Return the name of an expression (Anger for ``angry``, ``Anger`` and ``ANGER``); None for another word."""
    return SPELLINGS.get(unicodedata.normalize("NFC", word).strip().casefold())


def own_spelling(word: str, classes: Iterable[str]) -> str | None:
    """Return the class of a data set that has the same meaning as a word; None if there is none."""
    meant = spelled(word)
    return next((name for name in classes if meant is not None and spelled(name) == meant), None)


def _problems(classes: tuple[str, ...], given: Mapping[str, object]) -> list[str]:
    found = [
        f"class_map: unknown class {own!r}{did_you_mean(own, classes)}; classes: {', '.join(classes)}"
        for own in given
        if own not in classes and own != REST
    ]
    found += [
        f"class_map: new name of {own!r} must be text, not {new!r}"
        for own, new in given.items()
        if new is not None and (not isinstance(new, str) or not new.strip())
    ]
    return found


def _parsed(text: str) -> dict[str, str | None]:
    """Parse ``{own:new,own:null}``; names with commas, colons or quotes need JSON."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ConfigError(f"class_map={text!r} must be 'abaw' or {{own:new,...}}", hint=HINT)
    mapping: dict[str, str | None] = {}
    for item in inner[1:-1].split(","):
        own, colon, new = (part.strip().strip("\"'") for part in item.partition(":"))
        if not own or not colon:
            raise ConfigError(f"class_map={text!r}: {item.strip()!r} must be own:new", hint=HINT)
        if own in mapping:
            raise ConfigError(f"class_map={text!r}: {own!r} is given twice", hint=HINT)
        mapping[own] = None if new == "null" else new
    return mapping
