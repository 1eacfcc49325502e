"""Apply: a trained fusion on features to logits, in batches of one size: who asks changes no bit of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.engine.features import AnyPart
from fusionkit.engine.part import Part
from fusionkit.errors import CellError, PluginError
from fusionkit.spec import Spec

if TYPE_CHECKING:
    from fusionkit.contracts.fusion import FittedFusion, Fusion
    from fusionkit.engine.batches import HeldBatches, StreamedBatches

_BATCH = 4096


def evaluate(fusion: Fusion, batches: HeldBatches | StreamedBatches, part: AnyPart, spec: Spec) -> np.ndarray:
    """Logits of a fusion that is trained by gradient steps.

    Args:
        fusion: with its head.
        batches: of the part.
        part: of n frames.
        spec: what the fusion is called.

    Returns:
        (n, C) float32, NaN rows for frames without any view.

    Raises:
        CellError: if a logit is not finite.
        PluginError: if the fusion fails.
    """
    import torch

    fusion.eval()
    found = np.empty((len(part.seen), fusion.num_classes), np.float32)
    start = 0
    with torch.inference_mode():
        for batch in batches.all(_BATCH):
            logits = fusion(*batch).logits.float().cpu().numpy()
            found[start : start + len(logits)] = logits
            start += len(logits)
    return _checked(found, part, spec)


def evaluate_fitted(fusion: FittedFusion, part: AnyPart, spec: Spec) -> np.ndarray:
    """Log-probabilities of a fusion that is fitted in one go; as :func:`evaluate`.

    Raises:
        CellError: if it gives another shape than (n, C), or a value that is not finite.
        PluginError: if it fails.
    """
    found = np.empty((len(part.seen), fusion.num_classes), np.float32)
    start = 0
    for piece in _pieces(part):
        with named(spec, piece):
            probs = np.asarray(fusion.predict_proba(piece.views), dtype=np.float64)
        if probs.shape != (len(piece.seen), fusion.num_classes):
            raise CellError(f"fusion {spec} gave {probs.shape}; expected {(len(piece.seen), fusion.num_classes)}")
        found[start : start + len(probs)] = np.log(np.maximum(probs, 1e-12))
        start += len(probs)
    return _checked(found, part, spec)


@contextmanager
def named(spec: Spec, part: AnyPart) -> Iterator[None]:
    """A fitted fusion's error with its name, the views and their shapes.

    Raises:
        PluginError: for whatever is raised inside.
    """
    try:
        yield
    except Exception as error:
        raise PluginError(f"fusion {spec} on views {_shapes(part)} failed: {type(error).__name__}: {error}") from error


def _pieces(part: AnyPart) -> Iterator[Part]:
    rows = len(part.seen)
    starts = range(0, rows, _BATCH)
    if not isinstance(part, Part):
        yield from part.batches(np.arange(start, min(start + _BATCH, rows)) for start in starts)
        return
    for start in starts:
        span = slice(start, start + _BATCH)
        yield Part(
            {name: value[span] for name, value in part.views.items()},
            {name: value[span] for name, value in part.present.items()},
        )


def _checked(logits: np.ndarray, part: AnyPart, spec: Spec) -> np.ndarray:
    if not np.isfinite(logits[part.seen]).all():
        raise CellError(f"fusion {spec} gave logits that are not finite on views {_shapes(part)}")
    logits[~part.seen] = np.nan
    return logits


def _shapes(part: AnyPart) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in part.shapes.items())
