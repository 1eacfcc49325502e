"""Checks of backbones: each view to one finite row, by itself and the same each time."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from fusionkit.contracts.backbone import Backbone, Interpolation
from fusionkit.errors import PluginError
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import Skipped, Subject, Suite, require, require_close, require_finite, require_same

CHECKS = Suite()


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, and embeds views of its input size to (B, D)."""
    backbone = _ready(subject)
    backbone(_views(backbone))


@CHECKS.check
def sizes(subject: Subject) -> None:
    """``dim`` and both scored_rows of ``input_size`` are whole numbers from 1 up."""
    backbone = _ready(subject)
    found = (backbone.dim, *backbone.input_size)
    require(
        all(type(value) is int and value >= 1 for value in found) and len(found) == 3,
        f"dim = {backbone.dim!r} and input_size = {backbone.input_size!r} are not whole numbers from 1 up",
    )


@CHECKS.check
def normalisation(subject: Subject) -> None:
    """``mean`` and ``std`` are three numbers of channels in 0..1, ``std`` above 0; ``interpolation`` is known."""
    backbone = _ready(subject)
    require(len(backbone.mean) == 3 and all(0 <= m <= 1 for m in backbone.mean), f"mean = {backbone.mean!r}")
    require(len(backbone.std) == 3 and all(s > 0 for s in backbone.std), f"std = {backbone.std!r}")
    known = get_args(Interpolation)
    require(backbone.interpolation in known, f"interpolation = {backbone.interpolation!r} is not {', '.join(known)}")


@CHECKS.check
def dtype_is_float32(subject: Subject) -> None:
    """What ``embed`` gives is float32."""
    backbone = _ready(subject)
    values = backbone.embed(_views(backbone))
    require(isinstance(values, np.ndarray) and values.dtype == np.float32, f"embed gives {_kind(values)}")


@CHECKS.check
def embeddings_are_finite(subject: Subject) -> None:
    """Black, white and grey views have finite embeddings too."""
    backbone = _ready(subject)
    flat = [np.full((*backbone.input_size, 3), value, np.uint8) for value in (0, 128, 255)]
    require_finite(backbone(np.stack(flat)), "embeddings of black, grey and white views")
    require_finite(backbone(_views(backbone)), "embeddings")


@CHECKS.check
def distinct_views_distinct_rows(subject: Subject) -> None:
    """Views that look nothing alike have embeddings that differ."""
    backbone = _ready(subject)
    rows = backbone(_views(backbone))
    for row in range(1, len(rows)):
        require(not np.allclose(rows[row], rows[0], rtol=1e-6, atol=0), "all views have the same embedding")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """A view's embedding does not depend on the other views of its batch."""
    backbone = _ready(subject)
    views = _views(backbone)
    whole = backbone(views)
    scale = float(np.abs(whole).max())
    for row in range(len(views)):
        what = f"view {row} alone is not what it is in a batch"
        require_close(backbone(views[row : row + 1])[0], whole[row], what, rtol=1e-4, atol=1e-5 * scale)


@CHECKS.check
def same_input_same_output(subject: Subject) -> None:
    """Asked twice, and asked of another instance, the embeddings are the same bits."""
    backbone = _ready(subject)
    views = _views(backbone)
    first = backbone(views)
    backbone(views[::-1].copy())
    require_same(backbone(views), first, "asked twice, the embeddings differ")
    require_same(_ready(subject)(views), first, "two of the same options differ")


@CHECKS.check
def input_is_not_changed(subject: Subject) -> None:
    """Views are as they were before the call."""
    backbone = _ready(subject)
    views = _views(backbone)
    backbone(views)
    require_same(views, _views(backbone), "views were written to")


@CHECKS.check
def tokens(subject: Subject) -> None:
    """Tokens, where there are any, are (B, K, D), finite, and each view's own."""
    backbone = _ready(subject)
    views = _views(backbone)
    try:
        values = backbone.tokens(views)
    except PluginError as reason:
        raise Skipped(str(reason)) from reason
    right = values.ndim == 3 and values.shape[0] == len(views) and values.shape[2] == backbone.dim
    require(right, f"tokens are {values.shape}, not (B, K, D) with B={len(views)}, D={backbone.dim}")
    require_finite(values, "tokens")
    scale = float(np.abs(values).max())
    alone = backbone.tokens(views[:1])
    require_close(alone, values[:1], "tokens of a view alone are not what they are in a batch", atol=1e-5 * scale)


@CHECKS.check
def cost_is_known(subject: Subject) -> None:
    """``cost`` is a count of parameters and GFLOP of one view, both finite and from 0 up; ``weights`` is text."""
    backbone = _ready(subject)
    parameters, gflop = backbone.cost()
    require(type(parameters) is int and parameters >= 0, f"cost: {parameters!r} parameters")
    require(math.isfinite(gflop) and gflop >= 0, f"cost: {gflop!r} GFLOP")
    require(isinstance(backbone.weights(), str), f"weights() gives {backbone.weights()!r}, not text")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same backbone: that is how workers get it."""
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    backbone, again = _ready(subject), subject.cls(**spec.options)
    again.prepare("cpu", "float32")
    require(again.input_size == backbone.input_size, f"built from {subject.text} it has another input size")
    views = _views(backbone)
    require_same(again(views), backbone(views), f"built from {subject.text} it gives other embeddings")


def _ready(subject: Subject) -> Backbone:
    backbone: Backbone = subject.build()
    backbone.prepare("cpu", "float32")
    return backbone


def _views(backbone: Backbone) -> np.ndarray:
    """Noise, a ramp and a disc."""
    height, width = backbone.input_size
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ramp = np.repeat((255 * x / max(width - 1, 1)).astype(np.uint8)[..., None], 3, axis=2)
    disc = ((y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2)[..., None]
    return np.stack([noise, ramp, np.where(disc, [230, 180, 150], 20).astype(np.uint8)])


def _kind(values: object) -> str:
    return str(values.dtype) if isinstance(values, np.ndarray) else type(values).__name__
