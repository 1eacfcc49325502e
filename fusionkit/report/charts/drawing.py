"""Figures as SVG, drawn in a process of their own.

V8, which draws them, ends its process where memory is limited, and at some texts. Only charts are lost then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fusionkit.report.charts.figure import Figure

_PROGRAM = Path(__file__).with_name("vega_process.py")
_ATTEMPTS = 2
_TIME = 300.0  # s for all figures of a page, which take about two


def draw_figures(figures: Sequence[Figure]) -> list[str | None]:
    """Return each figure as SVG; None for a figure that ends the drawing process.

    The figures after it are drawn by another process. When two processes in succession draw nothing, V8 cannot run.
    """
    found: list[str | None] = []
    dead = 0  # processes in succession that drew nothing
    while len(found) < len(figures):
        svgs = _svgs(figures[len(found) :])
        found += svgs
        dead = 0 if svgs else dead + 1
        if len(found) < len(figures):
            found += [None] * (1 if dead < _ATTEMPTS else len(figures) - len(found))
    return found


def _svgs(figures: Sequence[Figure]) -> list[str]:
    """Return the figures up to the first that cannot be drawn."""
    specs = "".join(json.dumps(figure.specification()) + "\n" for figure in figures)
    try:
        done = subprocess.run(  # noqa: S603
            # -P: the folder of the program is not searched for modules.
            [sys.executable, "-P", str(_PROGRAM)],
            input=specs.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIME,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").split(b"\n")[:-1]
    except OSError:
        return []
    else:
        lines = done.stdout.split(b"\n")[:-1]
    return [json.loads(line) for line in lines]
