"""Checks of fusions: the loss reaches all that should learn, with the right slope."""

from __future__ import annotations

import torch
from torch.autograd.gradcheck import GradcheckError

from fusionkit.contracts.fusion import Fusion
from fusionkit.testing.check import CheckFailed, Skipped, Suite, require
from fusionkit.testing.fusion_inputs import CLASSES, batch, build, heads, logits_in, presence, require_scalar, seeded
from fusionkit.testing.subject import Subject

CHECKS = Suite()
_ROWS = 40


@CHECKS.check
def loss_is_a_finite_scalar(subject: Subject) -> None:
    """The training loss is one finite number that has a gradient."""
    loss = _training_loss(build(subject))
    require(isinstance(loss, torch.Tensor) and loss.ndim == 0, f"the loss is {_shape(loss)}, not a scalar")
    require(loss.isfinite().item(), f"the loss is {loss.item()}")
    require(loss.requires_grad, "the loss has no gradient")


@CHECKS.check
def gradient_reaches_every_view(subject: Subject) -> None:
    """No view is left out: the loss depends on each."""
    for where, model in heads(subject):
        views = {name: value.requires_grad_() for name, value in batch(model, _ROWS).items()}
        with seeded(0):
            require_scalar(model.loss(model(views), _target())).backward()  # type: ignore[no-untyped-call]
        unread = [name for name, value in views.items() if value.grad is None or not value.grad.any()]
        require(not unread, f"{where}: {', '.join(unread)} has no influence on the loss")


@CHECKS.check
def every_parameter_learns(subject: Subject) -> None:
    """One step of training changes every parameter that has a say; and none is there that nothing reads."""
    model = build(subject)
    require_scalar(_training_loss(model)).backward()  # type: ignore[no-untyped-call]
    model.after_backward()
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    before = {name: value.detach().clone() for name, value in parameters.items()}
    unread = [name for name, value in parameters.items() if value.grad is None and not _matters(model, value)]
    require(not unread, f"nothing reads parameter {', '.join(unread)}")
    torch.optim.SGD(parameters.values(), lr=1.0).step()
    still = [name for name, value in parameters.items() if torch.equal(value, before[name])]
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(before[name])
    stuck = [name for name in still if _matters(model, parameters[name])]
    require(not stuck, f"the loss depends on parameter {', '.join(stuck)}, and a step of training does not change it")


@CHECKS.check
def gradients_agree_with_finite_differences(subject: Subject) -> None:
    """In float64 the slope of the logits along each view is what small steps show, with views missing too."""
    model = build(subject, {"face": 3, "eye": 3, "mouth": 3}).double()
    views, present = {name: value.double() for name, value in batch(model, 4).items()}, presence(model.in_dims, 4)
    present[model.main][:] = True  # frames without any view are the business of all_views_missing
    try:
        kept = logits_in(model(views, present)).dtype == torch.float64
    except Exception:  # noqa: BLE001  (dtype_is_kept says what is wrong)
        kept = False
    if not kept:
        raise Skipped("dtype_is_kept fails")

    def logits(*given: torch.Tensor) -> torch.Tensor:
        return logits_in(model(dict(zip(views, given, strict=True)), present))

    values = tuple(value.requires_grad_() for value in views.values())
    if not logits(*values).requires_grad:
        raise CheckFailed("the logits have no gradient")
    try:
        torch.autograd.gradcheck(logits, values)
    except GradcheckError as error:
        raise CheckFailed(f"gradients are not what finite differences show: {str(error).splitlines()[0]}") from error


def _training_loss(model: Fusion) -> torch.Tensor:
    """The loss of a batch in training mode, with the same dropout each time."""
    with seeded(0):
        return model.train().loss(model(batch(model, _ROWS)), _target())


def _target() -> torch.Tensor:
    return torch.arange(_ROWS) % CLASSES


def _matters(model: Fusion, parameter: torch.Tensor) -> bool:
    """Whether another loss comes of other values, beyond rounding."""
    with torch.no_grad():
        before, kept = _training_loss(model), parameter.clone()
        with seeded(1):
            parameter.add_(torch.randn_like(parameter))
        after = _training_loss(model)
        parameter.copy_(kept)
    return not torch.allclose(before, after, rtol=1e-5, atol=1e-6)


def _shape(loss: object) -> str:
    return f"of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
