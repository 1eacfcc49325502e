"""Checks of fusions: they can be built and run, on any number of views, with results of the right shape."""

from __future__ import annotations

import pickle

import torch
from torch.autograd.gradcheck import GradcheckError

from fusionkit.contracts.fusion import Fusion
from fusionkit.errors import PluginError
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import (
    CheckFailed,
    Skipped,
    Subject,
    Suite,
    is_close,
    require,
    require_close,
    require_finite,
    require_same,
)
from fusionkit.testing.fusion_inputs import (
    CLASSES,
    DIFFERENT,
    ONE,
    ROWS,
    STANDARD,
    TWELVE,
    Dims,
    batch,
    build,
    everything,
    heads,
    logits_in,
    logits_of,
    presence,
    require_scalar,
    seeded,
    unregistered_tensors,
)

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


@CHECKS.check
def state_dict_round_trip(subject: Subject) -> None:
    """A head with other weights that takes the stored ones gives the same bits: all that it learned is in its state."""
    for where, model in heads(subject):
        views, present = batch(model), presence(model.in_dims)
        other = build(subject, model.in_dims, seed=99)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        other.load_state_dict(state)
        require_same(
            logits_of(other, views, present),
            logits_of(model, views, present),
            f"{where}: a head that was restored from its state gives other logits",
        )


@CHECKS.check
def pickle_round_trip(subject: Subject) -> None:
    """A head can be pickled, and gives the same bits afterwards."""
    model = build(subject)
    views, present = batch(model), presence(model.in_dims)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301  (its own bytes)
    require_same(logits_of(again, views, present), logits_of(model, views, present), "after pickling other logits come")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same head: that is how workers get it."""
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    model, other = build(subject), build(subject)
    if any(not torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items()):
        raise Skipped("same_seed_same_weights fails")
    with seeded(0):
        again = subject.cls(in_dims=dict(STANDARD), num_classes=CLASSES, **spec.options)
        again.attach_head()
    views, present = batch(model), presence(model.in_dims)
    require_same(
        logits_of(again.eval(), views, present),
        logits_of(model, views, present),
        f"built from the SPEC {subject.text} it gives other logits",
    )


@CHECKS.check
def recipe_can_be_used(subject: Subject) -> None:
    """What the fusion changes in the recipe of training is in the recipe's words."""
    from fusionkit.config.recipe import Recipe

    problems = Recipe.problems(subject.cls.recipe)
    require(not problems, "; ".join(problems))
