"""AffectNet's own numbers, the same in all of its layouts."""

from __future__ import annotations

from collections import Counter

# 0 to 7. 8 to 10 are no expressions.
EXPRESSIONS = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
NO_EXPRESSION = {8: "None", 9: "Uncertain", 10: "Non-face"}


class Native:
    """What a native number becomes: a class, or a count of what is passed over.

    Args:
        classes: 8, or 7 to pass over contempt too.

    Attributes:
        dropped: how many images were passed over, by reason.
    """

    def __init__(self, classes: int) -> None:
        self.names = EXPRESSIONS[:classes]
        self.reasons = NO_EXPRESSION | {number: EXPRESSIONS[number] for number in range(classes, 8)}
        self.dropped: Counter[str] = Counter()

    def label(self, text: str) -> int | None:
        """Class number of a native number, written as an integer or a whole float; None for one that is passed over.

        Raises:
            ValueError: if it is no number from 0 to 10.
        """
        value = float(text)
        if value not in range(11):
            raise ValueError(text)
        reason = self.reasons.get(int(value))
        if reason is None:
            return int(value)
        self.dropped[reason] += 1
        return None
