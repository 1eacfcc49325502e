"""Small heads and batches that fusions are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fusionkit.contracts.fusion import Fusion, FusionOutput
from fusionkit.testing.check import Skipped
from fusionkit.testing.subject import Subject

Views = dict[str, Tensor]
Dims = dict[str, int]

CLASSES, ROWS = 5, 9
STANDARD: Dims = {"face": 6, "eye": 6, "mouth": 6}
ONE: Dims = {"face": 6}
DIFFERENT: Dims = {"face": 6, "eye": 4}
TWELVE: Dims = {f"view{number}": 4 for number in range(12)}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch start at the seed in here, and go on outside as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(subject: Subject, dims: Dims = STANDARD, seed: int = 0) -> Fusion:
    """A head in evaluation mode, its weights drawn with the seed."""
    with seeded(seed):
        model: Fusion = subject.build(in_dims=dict(dims), num_classes=CLASSES)
        model.attach_head()
    return model.eval()


def batch(model: Fusion, rows: int = ROWS) -> Views:
    """Made-up embeddings, pooled or tokens as the fusion needs."""
    generator = torch.Generator().manual_seed(4)
    lead = (rows, model.token_count) if model.needs == "tokens" else (rows,)
    return {name: torch.randn(*lead, width, generator=generator) for name, width in model.in_dims.items()}


def presence(dims: Dims, rows: int = ROWS) -> Views:
    """Half of the views are there; in the first row none is, in the second all are."""
    generator = torch.Generator().manual_seed(5)
    present = {name: torch.rand(rows, generator=generator) < 0.5 for name in dims}
    for here in present.values():
        here[0], here[1:2] = False, True
    return present


def everything(dims: Dims, rows: int = ROWS) -> Views:
    """All views are there."""
    return {name: torch.ones(rows, dtype=torch.bool) for name in dims}


def logits_of(model: Fusion, views: Views, present: Views | None = None) -> Tensor:
    """Logits (B, C) without their graph."""
    with torch.no_grad():
        return logits_in(model(views, present))


def logits_in(output: FusionOutput) -> Tensor:
    """The logits of an output, which the base class has filled in."""
    assert output.logits is not None
    return output.logits


def require_scalar(loss: Tensor) -> Tensor:
    """The loss, where a gradient can be taken of it.

    Raises:
        Skipped: if it is no scalar: the business of ``loss_is_a_finite_scalar``.
    """
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise Skipped("loss_is_a_finite_scalar fails")
    return loss


def heads(subject: Subject) -> Iterator[tuple[str, Fusion]]:
    """Heads on three, one, two and twelve views; those on which the fusion fails are the business of other checks.

    Yields:
        What to call the views in a message, and the head.

    Raises:
        Skipped: if the fusion fails on all of them.
    """
    tried = 0
    for dims in (STANDARD, ONE, DIFFERENT, TWELVE):
        try:
            model = build(subject, dims)
            logits_of(model, batch(model))
        except Exception:  # noqa: BLE001, S112  (checks of their own say what is wrong)
            continue
        tried += 1
        yield f"on {len(dims)} view{'s' if len(dims) > 1 else ''}", model
    if not tried:
        raise Skipped("it runs on no set of views")
