"""Long names in pieces between which a line may break: after a separator, never within a word or a number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fusionkit.errors import printable

if TYPE_CHECKING:
    from markupsafe import Markup

_PIECE = re.compile(r"(?:[^,:/+_\s]|,(?=\d))*(?:[:/+_\s]|,(?!\d))*")
_SHORT = 12  # characters of a word that needs no break


def wrapped(name: str, width: int) -> str:
    """Return a name in lines, each filled as far as its pieces allow.

    Args:
        name: text.
        width: characters of a line; a longer piece has a line of its own.
    """
    lines = [""]
    for piece in _pieces(name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def breakable(text: str) -> Markup:
    """Return a text as escaped HTML whose long words may break after a separator."""
    from markupsafe import Markup, escape

    words = re.split(r"(\s+)", printable(text, keep="\n"))
    pieces = (Markup("<wbr>").join(map(escape, _pieces(word) if len(word) > _SHORT else [word])) for word in words)
    return Markup("").join(pieces)


def _pieces(text: str) -> list[str]:
    return [piece for piece in _PIECE.findall(text) if piece]
