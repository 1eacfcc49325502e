"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "absent", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        topic: what it belongs to: ``versions``, ``machine``, ``folders``, ``plugins`` or ``weights``.
        name: of the thing.
        value: what it is, in a few words.
        state: ``absent`` is what works without, ``warning`` what works worse than it could, ``broken`` what does not.
        advice: what to do about it; empty where there is nothing to do.
    """

    topic: str
    name: str
    value: str
    state: State = "ok"
    advice: str = ""
