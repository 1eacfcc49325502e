"""Classes merged, renamed or left out, by name: how a data set's own classes become the ones a grid is run with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusionkit.contracts import UNLABELLED
from fusionkit.errors import ConfigError
from fusionkit.registry import did_you_mean

ABAW = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
REST = "*"
HINT = "class_map={contempt:Other,unsure:null}, class_map={happy:happy,*:rest} or class_map=abaw"


class ClassMap:
    """A data set's own class names, and what each becomes.

    A class that the mapping does not name keeps its name, or takes what ``*`` says. ``None`` leaves a class out: its
    frames stay in the table, unlabelled.

    Args:
        classes: the data set's own names, in the order of its label numbers.
        mapping: own name, or ``*``, to new name or None; None changes nothing.

    Attributes:
        classes: the new names, in the order in which they first appear.

    Raises:
        ConfigError: if the mapping names a class that is not there, gives something that is no name, or leaves fewer
            than two classes.
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
        # The last entry is what -1 picks: unlabelled stays unlabelled.
        self._codes = np.array(
            [UNLABELLED if name is None else codes[name] for name in new] + [UNLABELLED], dtype=np.int64
        )

    @classmethod
    def of(
        cls, classes: tuple[str, ...], option: Mapping[str, str | None] | str | None, abaw: Mapping[str, str | None]
    ) -> ClassMap:
        """The map of a data set's option ``class_map``.

        Args:
            classes: the data set's own names.
            option: a dict, its text ``{own:new,own:null}``, or ``abaw``.
            abaw: what ``abaw`` stands for in this data set: own name to one of the eight names of the ABAW challenge; a
                class that it does not name is one of the eight already.

        Raises:
            ConfigError: if the option is none of these, or as above.
        """
        if not isinstance(option, str):
            return cls(classes, option)
        if option.strip().lower() != "abaw":
            return cls(classes, _parsed(option))
        strange = [name for name in classes if abaw.get(name, name) not in (*ABAW, None)]
        if strange:
            raise ConfigError(
                f"class_map=abaw: {', '.join(map(repr, strange))} means none of {', '.join(ABAW)}", hint=HINT
            )
        return cls(classes, abaw)

    def apply(self, label: np.ndarray) -> np.ndarray:
        """New label numbers.

        Args:
            label: (N,) int in -1 .. C-1, numbers of the own classes.

        Returns:
            (N,) int64; -1 where a frame is unlabelled or its class is left out.
        """
        return self._codes[np.asarray(label, dtype=np.int64)]


def _problems(classes: tuple[str, ...], given: Mapping[str, object]) -> list[str]:
    found = [
        f"class_map names {own!r}, which is no class here{did_you_mean(own, classes)}; classes: {', '.join(classes)}"
        for own in given
        if own not in classes and own != REST
    ]
    found += [
        f"class_map: {own!r} becomes {new!r}, which is no name"
        for own, new in given.items()
        if new is not None and (not isinstance(new, str) or not new.strip())
    ]
    return found


def _parsed(text: str) -> dict[str, str | None]:
    """``{own:new,own:null}`` as a dict; names that hold commas, colons or quotes need JSON."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ConfigError(f"class_map={text!r} is neither 'abaw' nor a list of own:new", hint=HINT)
    mapping: dict[str, str | None] = {}
    for item in inner[1:-1].split(","):
        own, colon, new = (part.strip().strip("\"'") for part in item.partition(":"))
        if not own or not colon:
            raise ConfigError(f"class_map={text!r}: {item.strip()!r} is not own:new", hint=HINT)
        if own in mapping:
            raise ConfigError(f"class_map={text!r} names {own!r} twice", hint=HINT)
        mapping[own] = None if new == "null" else new
    return mapping
