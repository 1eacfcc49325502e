"""Checks of fusions: they can be built and run, on any number of views, with results of the right shape."""

from __future__ import annotations

from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.fusion_inputs import CLASSES, DIFFERENT, ONE, ROWS, TWELVE, Dims, batch, build, logits_of
from fusionkit.testing.subject import Subject

CHECKS = Suite()


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built for three views of one width, gets its head, and runs on a batch."""
    model = build(subject)
    logits_of(model, batch(model))


@CHECKS.check
def one_view(subject: Subject) -> None:
    """It works on the main view alone: the reference row of a grid may be it."""
    _runs_on(subject, ONE)


@CHECKS.check
def views_of_different_widths(subject: Subject) -> None:
    """It works on views of different widths: another backbone may embed each."""
    _runs_on(subject, DIFFERENT)


@CHECKS.check
def twelve_views(subject: Subject) -> None:
    """It works on many views."""
    _runs_on(subject, TWELVE)


@CHECKS.check
def output_shapes(subject: Subject) -> None:
    """Logits are (B, C) for batches of any size, and so are those of single views, by the names of views."""
    model = build(subject)
    for rows in (1, 2, ROWS):
        output = model(batch(model, rows))
        found = {"logits": output.logits, **{f"view_logits {k}": v for k, v in (output.view_logits or {}).items()}}
        for what, value in found.items():
            shape = tuple(getattr(value, "shape", ()))
            require(shape == (rows, CLASSES), f"{what} of {rows} rows are {shape}, not {(rows, CLASSES)}")
        unknown = set(output.view_logits or {}) - set(model.in_dims)
        require(not unknown, f"view_logits of {', '.join(sorted(unknown))}: there is no such view")


@CHECKS.check
def token_count(subject: Subject) -> None:
    """A fusion of tokens says how many it wants, and looks at each of them."""
    model = build(subject)
    if model.needs != "tokens":
        raise Skipped("it needs pooled views")
    require(model.token_count >= 1, f"token_count = {model.token_count}: no token at all")
    views = {name: value.requires_grad_() for name, value in batch(model).items()}
    output = model(views)
    (output.logits.square().sum()).backward()
    for name, value in views.items():
        if value.grad is not None and value.grad.any():
            unread = [str(token) for token in range(model.token_count) if not value.grad[:, token].any()]
            require(not unread, f"token {', '.join(unread)} of view {name} takes no part")


def _runs_on(subject: Subject, dims: Dims) -> None:
    model = build(subject, dims)
    logits = logits_of(model, batch(model))
    require(logits.shape == (ROWS, CLASSES), f"logits are {tuple(logits.shape)}, not {(ROWS, CLASSES)}")
