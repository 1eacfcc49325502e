"""Options of the synthetic data set: what they may be, and the sizes they come to."""

from __future__ import annotations

from dataclasses import dataclass

from fusionkit.errors import ConfigError
from fusionkit_synthetic.expression import CLASSES

_LEAST = {"train": 1, "val": 1, "test": 1, "clips": 1, "clip_length": 6, "seed": 0}
KINDS = ("unique", "redundant", "synergy")
_MOST = {"difficulty": 1.0, "noise": 3.0, "missing": 0.5, "unlabelled": 0.3}


@dataclass(frozen=True)
class Sizes:
    """How many people a split, clips a person and frames a clip."""

    train: int
    val: int
    test: int
    clips: int
    clip_length: int

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """(name, people) of each split."""
        return ("train", self.train), ("val", self.val), ("test", self.test)


def check_options(whole: dict[str, int], real: dict[str, float]) -> None:
    """Refuse values that cannot be meant.

    Raises:
        ConfigError: one line for each option that is wrong.
    """
    problems = [
        f"synthetic: {name} must be a whole number of {_LEAST[name]} or more, not {value!r}"
        for name, value in whole.items()
        if isinstance(value, bool) or not isinstance(value, int) or value < _LEAST[name]
    ]
    problems += [
        f"synthetic: {name} must be a number in 0..{_MOST[name]:g}, not {value!r}"
        for name, value in real.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST[name]
    ]
    if not problems:
        problems = [
            f"synthetic: {split}={whole[split]} people with clips={whole['clips']} are {whole[split] * whole['clips']} "
            f"clips; a split needs {len(CLASSES)} or more to hold every class"
            for split in ("train", "val", "test")
            if whole[split] * whole["clips"] < len(CLASSES)
        ]
    if problems:
        raise ConfigError(problems)


def check_interaction(kind: str, label_noise: float | None) -> None:
    """Refuse an unknown interaction, and label noise that cannot be meant.

    Raises:
        ConfigError: one line for each option that is wrong.
    """
    problems = []
    if kind not in ("none", *KINDS):
        problems.append(f"synthetic: interaction={kind!r} is not one of none, {', '.join(KINDS)}")
    if label_noise is not None:
        if isinstance(label_noise, bool) or not isinstance(label_noise, int | float) or not 0 <= label_noise <= 0.4:
            problems.append(f"synthetic: label_noise must be a number in 0..0.4, not {label_noise!r}")
        elif kind == "none":
            problems.append("synthetic: label_noise goes with an interaction only")
    if problems:
        raise ConfigError(problems)
