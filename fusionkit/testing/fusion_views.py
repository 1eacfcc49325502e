"""Checks of fusions: the order of views, and views that are missing."""

from __future__ import annotations

import torch

from fusionkit.contracts.fusion import Fusion
from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.comparison import is_close, require_close, require_finite, require_same
from fusionkit.testing.fusion_inputs import ROWS, batch, build, everything, heads, logits_of, presence, require_scalar
from fusionkit.testing.subject import Subject

CHECKS = Suite()


@CHECKS.check
def order_of_given_views(subject: Subject) -> None:
    """Views are known by name: in which order they are handed over changes nothing."""
    for where, model in heads(subject):
        views, present = batch(model), presence(model.in_dims)
        turned = logits_of(model, dict(reversed(views.items())), dict(reversed(present.items())))
        require_close(turned, logits_of(model, views, present), f"{where}: the order of the views given matters")


@CHECKS.check
def symmetry_is_as_declared(subject: Subject) -> None:
    """Auxiliary views may swap their contents where ``symmetric`` is True, and may not where it is False."""
    model = build(subject)
    if model.symmetric is None:
        raise Skipped("symmetric is not declared")
    views, present = batch(model), presence(model.in_dims)
    swap = {"face": "face", "eye": "mouth", "mouth": "eye"}
    swapped = logits_of(
        model, {name: views[swap[name]] for name in views}, {name: present[swap[name]] for name in present}
    )
    same = is_close(swapped, logits_of(model, views, present))
    require(same or not model.symmetric, "symmetric = True, and swapping two auxiliary views changes the logits")
    require(not same or model.symmetric, "symmetric = False, and swapping two auxiliary views changes nothing")


@CHECKS.check
def content_of_an_absent_view(subject: Subject) -> None:
    """Where ``missing`` is ``masked``, it does not matter what stands in for an absent auxiliary view."""
    for where, model in heads(subject):
        _skip_unless(model, "masked")
        views, present = batch(model), presence(model.in_dims)
        other = {name: _replaced(value, present[name]) for name, value in views.items()}
        other[model.main] = views[model.main]
        require_same(
            logits_of(model, other, present),
            logits_of(model, views, present),
            f"{where}: missing = 'masked', and the content of an absent view matters",
        )


@CHECKS.check
def presence_of_an_imputed_view(subject: Subject) -> None:
    """Where ``missing`` is ``imputed``, only contents matter: presence does not."""
    for where, model in heads(subject):
        _skip_unless(model, "imputed")
        views = batch(model)
        require_same(
            logits_of(model, views, presence(model.in_dims)),
            logits_of(model, views, everything(model.in_dims)),
            f"{where}: missing = 'imputed', and presence matters",
        )


@CHECKS.check
def all_views_missing(subject: Subject) -> None:
    """A frame without any view has finite logits, and so have the gradients that come of it."""
    for where, model in heads(subject):
        absent = {name: torch.zeros(ROWS, dtype=torch.bool) for name in model.in_dims}
        blank = {name: torch.zeros_like(value).requires_grad_() for name, value in batch(model).items()}
        output = model(blank, absent)
        require_finite(output.logits, f"{where}: logits of frames without any view")
        require_scalar(model.loss(output, torch.arange(ROWS) % model.num_classes)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                require_finite(parameter.grad, f"{where}: gradient of {name} on frames without any view")


def _skip_unless(model: Fusion, missing: str) -> None:
    if model.missing != missing:
        raise Skipped(f"missing = {model.missing!r}")


def _replaced(value: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Other content where the view is absent."""
    return torch.where(present.view(-1, *[1] * (value.ndim - 1)), value, 1e3 * value + 7)
