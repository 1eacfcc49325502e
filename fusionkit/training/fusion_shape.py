"""Where auxiliary views enter a network that is fine-tuned, and how they are combined there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fusionkit.errors import ConfigError
from fusionkit.spec import Spec

_BLOCK = re.compile(r"block:(\d+)")
POSITIONS = "alone, input, block:K, pooled or logits"
COMBINES = ("average", "concat")


@dataclass(frozen=True)
class FusionShape:
    """A position and an operator.

    Attributes:
        position: ``alone`` is the main view by itself; ``input`` the images, ``block`` the features after the first
            ``block`` blocks, ``pooled`` the pooled features, ``logits`` the logits.
        block: for the position ``block``; else 0.
        combine: ``average``, or ``concat``: side by side, then projected back to the width of one. Without meaning
            for ``alone``.

    Reference:
        Truong et al., Delving into Ipsilateral Mammogram Assessment under Multi-View Network, arXiv:2309.02197: five
        positions (Pre, Early, Middle, Last, Post), two operators, a network in coarse layers a view and fine layers
        after fusion. Which block each position stands for is not published in a form that we have read: ours are
        numbered.
    """

    position: Literal["alone", "input", "block", "pooled", "logits"]
    block: int = 0
    combine: Literal["average", "concat"] = "average"

    @classmethod
    def parse(cls, position: object, combine: object) -> FusionShape:
        """Read a position and an operator.

        Raises:
            ConfigError: if either is none.
        """
        if combine not in COMBINES:
            raise ConfigError(f"combine = {combine!r} is none of {', '.join(COMBINES)}")
        operator: Literal["average", "concat"] = "concat" if combine == "concat" else "average"
        if position == "alone":
            return cls("alone")
        if position == "input" or position == "pooled" or position == "logits":
            return cls(position, combine=operator)
        found = _BLOCK.fullmatch(position) if isinstance(position, str) else None
        if found is None:
            raise ConfigError(f"position = {position!r} is none of {POSITIONS}")
        return cls("block", int(found[1]), operator)

    @property
    def at(self) -> str:
        """The position as it is written."""
        return f"block:{self.block}" if self.position == "block" else self.position

    @property
    def spec(self) -> Spec:
        """How it is called where a bench would name its fusion."""
        if self.position == "alone":
            return Spec("finetuned")
        return Spec("joint", {"position": self.at, "combine": self.combine})

    @property
    def folder(self) -> str:
        """The name of a folder."""
        return "alone" if self.position == "alone" else f"{self.at.replace(':', '')}-{self.combine}"
