"""Checks of fusions: the same question has the same answer, in the type and on the device in which it was asked."""

from __future__ import annotations

import torch

from fusionkit.errors import PluginError
from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.comparison import require_close, require_same
from fusionkit.testing.fusion_inputs import ROWS, batch, build, heads, logits_of, presence, seeded
from fusionkit.testing.object_graph import unregistered_tensors
from fusionkit.testing.subject import Subject

CHECKS = Suite()
_OTHER_DEVICE = ("is not on the expected device", "on the same device", "found at least two devices")


@CHECKS.check
def dtype_is_kept(subject: Subject) -> None:
    """A float64 head on float64 views gives float64 logits, which agree with the float32 ones."""
    for where, model in heads(subject):
        views, present = batch(model), presence(model.in_dims)
        single = logits_of(model, views, present)
        double = logits_of(model.double(), {name: value.double() for name, value in views.items()}, present)
        require(double.dtype == torch.float64, f"{where}: float64 in, {double.dtype} out")
        require_close(double, single, f"{where}: float64 and float32 disagree")


@CHECKS.check
def device_is_kept(subject: Subject) -> None:
    """All that it makes is on the device of its input; tried on the GPU, else on torch's device without values."""
    model = build(subject)
    device = "cuda" if torch.cuda.is_available() else "meta"
    views = {name: value.to(device) for name, value in batch(model).items()}
    present = {name: value.to(device) for name, value in presence(model.in_dims).items()}
    try:
        logits = logits_of(model.to(device), views, present)
    except PluginError as error:
        if any(words in str(error) for words in _OTHER_DEVICE):
            raise
        raise Skipped(f"it needs values, which the device {device!r} does not have: {error}") from error
    require(logits.device.type == device, f"input on {device}, logits on {logits.device}")


@CHECKS.check
def input_is_not_changed(subject: Subject) -> None:
    """Views and presence are as they were before the call, in training too."""
    for where, model in heads(subject):
        views, present = batch(model), presence(model.in_dims)
        before = {name: value.clone() for name, value in {**views, **_named(present)}.items()}
        for training in (False, True):
            with seeded(0):
                model.train(training)(views, present)
            after = {**views, **_named(present)}
            require(list(views) == list(model.in_dims), f"{where}: views were added, removed or moved")
            for name, value in before.items():
                require_same(after[name], value, f"{where}: {name} was written to")


@CHECKS.check
def same_seed_same_weights(subject: Subject) -> None:
    """Two heads of one seed have equal weights and give the same bits, in evaluation and in training."""
    one, other = build(subject), build(subject)
    states = one.state_dict(), other.state_dict()
    require(list(states[0]) == list(states[1]), "two heads of one seed have other parameters")
    for name, value in states[0].items():
        require_same(states[1][name], value, f"two heads of one seed differ in {name}")
    views, present = batch(one), presence(one.in_dims)
    for training in (False, True):
        logits = []
        for model in (one, other):
            with seeded(3):
                logits.append(logits_of(model.train(training), views, present))
        mode = "training" if training else "evaluation"
        require_same(logits[1], logits[0], f"two heads of one seed give other logits in {mode}")


@CHECKS.check
def same_input_same_output(subject: Subject) -> None:
    """Asked twice, a trained head gives the same bits: nothing is random in evaluation, and nothing is kept."""
    model = build(subject)
    views, present = batch(model), presence(model.in_dims)
    first = logits_of(model, views, present)
    for _ in range(2):
        logits_of(model, {name: -value for name, value in views.items()})
        require_same(logits_of(model, views, present), first, "asked again, the logits differ")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """A frame's logits do not depend on the other frames of its batch."""
    for where, model in heads(subject):
        views, present = batch(model), presence(model.in_dims)
        whole = logits_of(model, views, present)
        for row in range(ROWS):
            one = slice(row, row + 1)
            alone = logits_of(
                model,
                {name: value[one] for name, value in views.items()},
                {name: value[one] for name, value in present.items()},
            )
            require_close(alone, whole[one], f"{where}: row {row} alone is not what it is in a batch")


@CHECKS.check
def every_tensor_that_matters_is_registered(subject: Subject) -> None:
    """No tensor takes part that is neither a parameter nor a buffer: it is not trained, stored or moved to a device.

    A plain list of ``nn.Parameter`` is the usual cause; ``nn.ParameterList`` or ``register_buffer`` is right.
    """
    found = unregistered_tensors(build(subject))
    require(not found, f"{', '.join(found)} takes part but is neither a parameter nor a buffer")


def _named(present: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"present[{name}]": value for name, value in present.items()}
