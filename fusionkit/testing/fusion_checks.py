"""Checks of fusions: any number of views, no dependence on batch or order, views missing, and training."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from fusionkit.contracts.fusion import Batch, Fusion, FusionOutput, Windows
from fusionkit.errors import PluginError
from fusionkit.testing.case import (
    CheckFailed,
    Skipped,
    Subject,
    Suite,
    described,
    is_close,
    require,
    require_close,
    require_finite,
    require_same,
    skip_if_refused,
)
from fusionkit.testing.model_tensors import unregistered_tensors
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()
Views = dict[str, Tensor]
Dims = dict[str, int]

_CLASSES, _ROWS, _TRAINING_ROWS = 5, 9, 40
_NAMES, _WIDTH = ("face", "eye", "mouth"), 6
_ONE: Dims = {"face": 6}
_DIFFERENT: Dims = {"face": 6, "eye": 4}
_TWELVE: Dims = {f"view{number}": 4 for number in range(12)}
_LENGTHS = (2, 4, 3)  # frames of windows
_OTHER_DEVICE = ("is not on the expected device", "on the same device", "found at least two devices")


def standard_views(cls: type[Any], width: int) -> Dims:
    """Return three views of one width, or as many as the fusion takes."""
    least, most = cls.min_views, cls.max_views or len(_NAMES)
    count = max(least, min(len(_NAMES), most))
    return dict.fromkeys([*_NAMES, *(f"view{number}" for number in range(len(_NAMES), count))][:count], width)


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built for three views of one width, or as many as it takes, gets its head, and runs on a batch."""
    _runs_on(subject, standard_views(subject.cls, _WIDTH))


@CHECKS.root
def input_is_not_changed(subject: Subject) -> None:
    """Views and presence are unchanged after the call, in training too."""
    for where, model in _heads(subject):
        views, present = _batch(model), _presence(model.in_dims)
        before = {name: value.clone() for name, value in _given(views, present).items()}
        for training in (False, True):
            with _seeded(0):
                _run(model.train(training), views, present)
            same = list(views) == list(model.in_dims)
            require(same, f"fuse() {where}: adds, removes or reorders views of the dict that it gets")
            for name, value in _given(views, present).items():
                require_same(value, before[name], f"fuse() {where}: changes {name}")


@CHECKS.root
def same_input_same_output(subject: Subject) -> None:
    """In evaluation nothing is random and nothing is kept: a second call gives the same bits."""
    model = _build(subject)
    views, present = _batch(model), _presence(model.in_dims)
    first = _logits_of(model, views, present)
    for _ in range(2):
        _logits_of(model, {name: -value for name, value in views.items()})
        again = _logits_of(model, views, present)
        require_same(again, first, "fuse(): a second call with the same views gives other logits")


@CHECKS.root
def output_shapes(subject: Subject) -> None:
    """Logits are (B, C) for batches of any size; so are the logits of single views, under names of views."""
    model = _build(subject)
    for rows in (1, 2, _ROWS):
        output = _run(model, _batch(model, rows))
        found = {"logits": output.logits, **{f"view_logits[{k!r}]": v for k, v in (output.view_logits or {}).items()}}
        for what, value in found.items():
            right = tuple(getattr(value, "shape", ())) == (rows, _CLASSES)
            require(right, f"fuse(): expected {what} of shape {(rows, _CLASSES)}, found {described(value)}")
        unknown = set(output.view_logits or {}) - set(model.in_dims)
        names = ", ".join(model.in_dims)
        require(not unknown, f"fuse(): expected view_logits of {names} only, found {', '.join(sorted(unknown))}")


@CHECKS.root
def every_tensor_is_registered(subject: Subject) -> None:
    """No tensor takes part that is neither a parameter nor a buffer: it is not trained, stored or moved to a device.

    A plain list of ``nn.Parameter`` is the usual cause; ``nn.ParameterList`` or ``register_buffer`` is right.
    """
    model = _build(subject)
    views, present = _batch(model), _presence(model.in_dims)
    found = unregistered_tensors(model, lambda: _logits_of(model, views, present))
    require(not found, f"__init__(): expected parameters or buffers (nn.ParameterList), found {', '.join(found)}")


@CHECKS.root
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """The logits of a frame do not depend on other frames of its batch; over time, not on those of other windows."""
    for where, model in _heads(subject):
        views, present = _batch(model), _presence(model.in_dims)
        whole = _logits_of(model, views, present)
        if model.needs == "clip":
            _require_windows_apart(model, where, views, present, whole)
            continue
        for row in range(_ROWS):
            one = slice(row, row + 1)
            alone = _logits_of(
                model,
                {name: value[one] for name, value in views.items()},
                {name: value[one] for name, value in present.items()},
            )
            require_close(alone, whole[one], f"fuse() {where}: logits of row {row} alone differ from those in a batch")


def _require_windows_apart(model: Fusion, where: str, views: Views, present: Views, whole: Tensor) -> None:
    """Compare the logits of each window with those beside other contents of the other windows."""
    windows = _windows(_ROWS)
    for number in range(int(windows.index[-1]) + 1):
        own = windows.index == number
        changed = {name: torch.where(own[:, None], value, 1 - 2 * value) for name, value in views.items()}
        what = f"fuse_clip() {where}: logits of window {number} change with the frames of other windows"
        require_close(_logits_of(model, changed, present)[own], whole[own], what)


@CHECKS.check
def padding_has_no_effect(subject: Subject) -> None:
    """Over time: the logits of a window are the same beside a longer one, for which it is padded."""
    for where, model in _heads(subject):
        _skip_unless_over_time(model)
        views, present, windows = _batch(model), _presence(model.in_dims), _windows(_ROWS)
        whole = _logits_of(model, views, present)
        for number in range(int(windows.index[-1]) + 1):
            own = windows.index == number
            alone = _logits_in(
                model(
                    {name: value[own] for name, value in views.items()},
                    {name: value[own] for name, value in present.items()},
                    Windows(torch.zeros_like(windows.index[own]), windows.number[own]),
                )
            )
            what = f"fuse_clip() {where}: logits of a window of {int(own.sum())} frames change with padding"
            require_close(alone, whole[own], what)


@CHECKS.check
def causal_uses_no_later_frame(subject: Subject) -> None:
    """Over time: if ``causal`` is True, the logits of a frame are the same without the frames after it."""
    for where, model in _heads(subject):
        _skip_unless_over_time(model)
        if not model.causal:
            raise Skipped("causal = False")
        views, present = _batch(model), _presence(model.in_dims)
        number = 3 * torch.arange(_ROWS)
        whole = _logits_in(model(views, present, Windows(torch.zeros_like(number), number)))
        for end in range(1, _ROWS):
            logits = _logits_in(
                model(
                    {name: value[:end] for name, value in views.items()},
                    {name: value[:end] for name, value in present.items()},
                    Windows(torch.zeros_like(number[:end]), number[:end]),
                )
            )
            what = f"fuse_clip() {where}: causal = True, but logits of frame {end - 1} change with later frames"
            require_close(logits[-1], whole[end - 1], what)


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""

    def run() -> None:
        model: Fusion = subject.build(in_dims=standard_views(subject.cls, _WIDTH), num_classes=_CLASSES)
        model.attach_head()
        _logits_of(model, _batch(model))

    require_no_global_seed(run, "__init__() or fuse()")


@CHECKS.check
def logits_are_not_probabilities(subject: Subject) -> None:
    """Logits of its own are scores, to which the kernel applies the softmax; rows of a distribution are none."""
    model = _build(subject)
    if model.head is not None:
        raise Skipped("it gives an embedding")
    logits = _logits_of(model, _batch(model))
    distribution = bool((logits >= 0).all()) and is_close(logits.sum(1), torch.ones(_ROWS))
    require(not distribution, "fuse(): expected logits, found rows >= 0 that sum to 1; give log-probabilities instead")


@CHECKS.check
def one_view(subject: Subject) -> None:
    """It works with the main view only; the reference row of a grid may have no other."""
    skip_if_refused(lambda: _build(subject, _ONE))
    _runs_on(subject, _ONE)


@CHECKS.check
def views_of_different_widths(subject: Subject) -> None:
    """It works with views of different widths, as different backbones give."""
    skip_if_refused(lambda: _build(subject, _DIFFERENT))
    _runs_on(subject, _DIFFERENT)


@CHECKS.check
def twelve_views(subject: Subject) -> None:
    """It works with many views."""
    skip_if_refused(lambda: _build(subject, _TWELVE))
    _runs_on(subject, _TWELVE)


@CHECKS.check
def token_count(subject: Subject) -> None:
    """A fusion of tokens declares their number in ``token_count``, and uses each of them."""
    model = _build(subject)
    if model.needs != "tokens":
        raise Skipped("it needs no tokens")
    require(model.token_count >= 1, f"token_count: expected at least 1, found {model.token_count}")
    views = {name: value.requires_grad_() for name, value in _batch(model).items()}
    _logits_in(_run(model, views)).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, value in views.items():
        if value.grad is not None and value.grad.any():
            unused = [str(token) for token in range(model.token_count) if not value.grad[:, token].any()]
            require(not unused, f"fuse(): expected an effect of all tokens of view {name}, none of {', '.join(unused)}")


@CHECKS.check
def maps_of_any_grid(subject: Subject) -> None:
    """A fusion of maps takes views of different grids, also of a single place, and uses each place."""
    model = _build(subject)
    if model.needs != "map":
        raise Skipped("it needs no maps")
    for number, name in enumerate(model.in_dims):
        grids = {other: (2, 5) if other == name else (1 + number % 2, 1) for other in model.in_dims}
        generator = torch.Generator().manual_seed(number)
        views = {
            other: torch.randn(_ROWS, *grids[other], width, generator=generator).requires_grad_()
            for other, width in model.in_dims.items()
        }
        try:
            output = _run(model, views)
        except PluginError as error:
            raise CheckFailed(f"fuse(): expected logits of maps of any grid; {error}") from error
        _logits_in(output).square().sum().backward()  # type: ignore[no-untyped-call]
        own = views[name].grad
        if own is not None and own.any():
            unused = int((~own.any(-1).any(0)).sum())
            require(not unused, f"fuse(): expected an effect of all places of view {name}, none of {unused} of them")


@CHECKS.check
def dtype_is_kept(subject: Subject) -> None:
    """A float64 head on float64 views gives float64 logits that agree with those in float32."""
    for where, model in _heads(subject):
        views, present = _batch(model), _presence(model.in_dims)
        single = _logits_of(model, views, present)
        double = _logits_of(model.double(), {name: value.double() for name, value in views.items()}, present)
        require(double.dtype == torch.float64, f"fuse() {where}: expected float64 logits, found {double.dtype}")
        require_close(double, single, f"fuse() {where}: float64 and float32 logits differ")


@CHECKS.check
def same_seed_same_weights(subject: Subject) -> None:
    """Two heads with the same seed have equal weights and give the same bits, in evaluation and in training."""
    one, other = _build(subject), _build(subject)
    states = one.state_dict(), other.state_dict()
    require(list(states[0]) == list(states[1]), "__init__(): two heads with the same seed have other parameters")
    for name, value in states[0].items():
        require_same(states[1][name], value, f"__init__(): two heads with the same seed differ in {name}")
    views, present = _batch(one), _presence(one.in_dims)
    for training in (False, True):
        logits = []
        for model in (one, other):
            with _seeded(3):
                logits.append(_logits_of(model.train(training), views, present))
        mode = "training" if training else "evaluation"
        require_same(logits[1], logits[0], f"fuse(): two heads with the same seed differ in {mode}")


@CHECKS.check
def symmetry_is_as_declared(subject: Subject) -> None:
    """Swapping two auxiliary views has no effect if ``symmetric`` is True, and has one if it is False."""
    model = _build(subject)
    if model.symmetric is None:
        raise Skipped("symmetric is None")
    if len(model.auxiliary) < len(("eye", "mouth")):
        raise Skipped("it takes one auxiliary view at most")
    views, present = _batch(model), _presence(model.in_dims)
    one, other = model.auxiliary[:2]
    swap = {**{name: name for name in views}, one: other, other: one}
    swapped = _logits_of(
        model, {name: views[swap[name]] for name in views}, {name: present[swap[name]] for name in present}
    )
    same = is_close(swapped, _logits_of(model, views, present))
    require(
        same or not model.symmetric, "fuse(): symmetric = True, but a swap of two auxiliary views changes the logits"
    )
    require(not same or model.symmetric, "fuse(): symmetric = False, but a swap of two auxiliary views has no effect")


@CHECKS.check
def content_of_an_absent_view(subject: Subject) -> None:
    """If ``missing`` is ``masked``, the content of an absent auxiliary view has no effect."""
    for where, model in _heads(subject):
        _skip_unless_missing(model, "masked")
        views, present = _batch(model), _presence(model.in_dims)
        other = {name: _replaced(value, present[name]) for name, value in views.items()}
        other[model.main] = views[model.main]
        what = f"fuse() {where}: missing = 'masked', but the content of an absent view changes the logits"
        require_same(_logits_of(model, other, present), _logits_of(model, views, present), what)


@CHECKS.check
def presence_of_an_imputed_view(subject: Subject) -> None:
    """If ``missing`` is ``imputed``, presence has no effect."""
    for where, model in _heads(subject):
        _skip_unless_missing(model, "imputed")
        views = _batch(model)
        all_present = {name: torch.ones(_ROWS, dtype=torch.bool) for name in model.in_dims}
        what = f"fuse() {where}: missing = 'imputed', but presence changes the logits"
        require_same(_logits_of(model, views, _presence(model.in_dims)), _logits_of(model, views, all_present), what)


@CHECKS.check
def all_views_missing(subject: Subject) -> None:
    """A frame without any view has finite logits and gradients."""
    for where, model in _heads(subject):
        absent = {name: torch.zeros(_ROWS, dtype=torch.bool) for name in model.in_dims}
        blank = {name: torch.zeros_like(value).requires_grad_() for name, value in _batch(model).items()}
        require_finite(_logits_in(_run(model, blank, absent)), f"fuse() {where}: logits of frames without any view")
        _scalar(_loss(model, blank, absent)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                require_finite(parameter.grad, f"fuse() {where}: gradient of {name} for frames without any view")


@CHECKS.check
def loss_is_a_finite_scalar(subject: Subject) -> None:
    """The training loss is one finite number with a gradient."""
    loss = _training_loss(_build(subject))
    right = isinstance(loss, Tensor) and loss.ndim == 0
    require(right, f"loss(): expected a scalar tensor, found {described(loss)}")
    require(loss.isfinite().item(), f"loss(): expected a finite value, found {loss.item()}")
    require(loss.requires_grad, "loss(): expected a value with a gradient, found one without")


@CHECKS.check
def gradient_reaches_every_view(subject: Subject) -> None:
    """The loss depends on every view."""
    for where, model in _heads(subject):
        views = {name: value.requires_grad_() for name, value in _batch(model, _TRAINING_ROWS).items()}
        with _seeded(0):
            _scalar(_loss(model, views)).backward()  # type: ignore[no-untyped-call]
        unused = [name for name, value in views.items() if value.grad is None or not value.grad.any()]
        require(not unused, f"fuse() {where}: expected a gradient for every view, none for {', '.join(unused)}")


@CHECKS.check
def every_parameter_learns(subject: Subject) -> None:
    """One training step changes every parameter that the loss depends on, and there is no other parameter."""
    model = _build(subject)
    _scalar(_training_loss(model)).backward()  # type: ignore[no-untyped-call]
    model.after_backward()
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    before = {name: value.detach().clone() for name, value in parameters.items()}
    unused = [name for name, value in parameters.items() if value.grad is None and not _matters(model, value)]
    require(not unused, f"fuse(): expected an effect of every parameter, none of {', '.join(unused)}")
    with torch.no_grad():  # no optimiser of torch, whose import takes seconds
        for value in parameters.values():
            if value.grad is not None:
                value.sub_(value.grad)
    still = [name for name, value in parameters.items() if torch.equal(value, before[name])]
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(before[name])
    stuck = [name for name in still if _matters(model, parameters[name])]
    require(not stuck, f"loss(): depends on {', '.join(stuck)}, but a training step does not change it")


@CHECKS.check
def parameter_groups_can_be_used(subject: Subject) -> None:
    """Each parameter group has valid values and parameters of the fusion, each in one group at most."""
    _build(subject).all_parameter_groups()


@CHECKS.on_request
def gradients_agree_with_finite_differences(subject: Subject) -> None:
    """In float64 the gradients of the logits agree with finite differences, with views missing too."""
    model = _build(subject, standard_views(subject.cls, 3)).double()
    views, present = {name: value.double() for name, value in _batch(model, 4).items()}, _presence(model.in_dims, 4)
    present[model.main][:] = True  # all_views_missing checks frames without any view
    try:
        kept = _logits_in(_run(model, views, present)).dtype == torch.float64
    except Exception:  # noqa: BLE001  (dtype_is_kept reports it)
        kept = False
    if not kept:
        raise Skipped("dtype_is_kept fails")

    def logits(*given: Tensor) -> Tensor:
        return _logits_in(_run(model, dict(zip(views, given, strict=True)), present))

    values = tuple(value.requires_grad_() for value in views.values())
    require(logits(*values).requires_grad, "fuse(): expected logits with a gradient, found none")
    try:
        torch.autograd.gradcheck(logits, values)
    except GradcheckError as error:
        line = str(error).splitlines()[0]
        raise CheckFailed(f"fuse(): gradients differ from finite differences: {line}") from error


@CHECKS.check
def state_dict_round_trip(subject: Subject) -> None:
    """A second head that loads the ``state_dict`` gives the same bits."""
    for where, model in _heads(subject):
        views, present = _batch(model), _presence(model.in_dims)
        other = _build(subject, model.in_dims, seed=99)
        other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
        what = f"state_dict() {where}: a head that loads it gives other logits"
        require_same(_logits_of(other, views, present), _logits_of(model, views, present), what)


@CHECKS.check
def pickle_round_trip(subject: Subject) -> None:
    """A head can be pickled, and gives the same bits afterwards."""
    model = _build(subject)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301  (its own bytes)
    _require_same_logits(again, model, "pickle: logits differ afterwards")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same head; workers get it that way."""
    with _seeded(0):
        again: Fusion = subject.build_from_text(in_dims=standard_views(subject.cls, _WIDTH), num_classes=_CLASSES)
        again.attach_head()
    model, other = _build(subject), _build(subject)
    if any(not torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items()):
        raise Skipped("same_seed_same_weights fails")
    _require_same_logits(again.eval(), model, f"built from {subject.text}: logits differ")


@CHECKS.check
def recipe_can_be_used(subject: Subject) -> None:
    """``recipe`` changes known keys of the training recipe to valid values."""
    from fusionkit.config.recipe import Recipe

    problems = Recipe.problems(subject.cls.recipe)
    require(not problems, f"recipe: {'; '.join(problems)}")


@CHECKS.last
def device_is_kept(subject: Subject) -> None:
    """New tensors are on the device of the input; checked on the GPU, or on torch's meta device."""
    model = _build(subject)
    device = "cuda" if torch.cuda.is_available() else "meta"
    views = {name: value.to(device) for name, value in _batch(model).items()}
    present = {name: value.to(device) for name, value in _presence(model.in_dims).items()}
    try:
        logits = _logits_of(model.to(device), views, present)
    except PluginError as error:
        if any(words in str(error) for words in _OTHER_DEVICE):
            raise
        raise Skipped(f"it needs values, which device {device!r} does not hold: {error}") from error
    found = logits.device.type
    require(found == device, f"fuse(): expected logits on device {device}, that of the input; found {found}")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers, and restore their state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _build(subject: Subject, dims: Dims | None = None, seed: int = 0) -> Fusion:
    """Return a head in evaluation mode with weights drawn from the seed."""
    with _seeded(seed):
        model: Fusion = subject.build(in_dims=dims or standard_views(subject.cls, _WIDTH), num_classes=_CLASSES)
        model.attach_head()
    return model.eval()


def _heads(subject: Subject) -> Iterator[tuple[str, Fusion]]:
    """Yield heads on three views (or as many as it takes), one, two and twelve, each with a text for messages.

    A set of views on which the fusion fails is left out, since another check reports it.

    Raises:
        Skipped: if the fusion fails on all of them.
    """
    tried = 0
    for dims in (standard_views(subject.cls, _WIDTH), _ONE, _DIFFERENT, _TWELVE):
        if str(dims) in subject.failed_inputs:  # it may take long to fail, such as by running out of memory
            continue
        try:
            model = _runs_on(subject, dims)
        except Exception:  # noqa: BLE001  (other checks report it)
            subject.failed_inputs.add(str(dims))
            continue
        tried += 1
        yield f"on {len(dims)} view{'s' if len(dims) > 1 else ''}", model
    if not tried:
        raise Skipped("it runs on no set of views")


def _runs_on(subject: Subject, dims: Dims) -> Fusion:
    """Return a head that has run on one batch."""
    model = _build(subject, dims)
    logits = _logits_of(model, _batch(model))
    right = logits.shape == (_ROWS, _CLASSES)
    require(right, f"fuse(): expected logits of shape {(_ROWS, _CLASSES)}, found {tuple(logits.shape)}")
    return model


def _run(model: Fusion, views: Views, present: Views | None = None) -> FusionOutput:
    """Call a head; for one over time, the frames are in windows of up to four."""
    if model.needs != "clip":
        return model(views, present)  # type: ignore[no-any-return]
    windows = _windows(len(views[model.main]))
    return model(views, present, replace(windows, number=windows.number.to(views[model.main].device)))  # type: ignore[no-any-return]


def _windows(rows: int) -> Windows:
    """Return windows of 2, 4 and 3 frames, again and again; frame numbers have gaps."""
    lengths = torch.tensor(_LENGTHS).repeat(rows)
    index = torch.arange(len(lengths)).repeat_interleave(lengths)[:rows]
    row = torch.arange(rows)
    return Windows(index, 5 + row + row // 2)


def _skip_unless_over_time(model: Fusion) -> None:
    if model.needs != "clip":
        raise Skipped("it gets single frames")


def _batch(model: Fusion, rows: int = _ROWS) -> Views:
    """Return random embeddings, tokens or maps, as the fusion needs."""
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.randn(rows, *model.trial_shape(), width, generator=generator)
        for name, width in model.in_dims.items()
    }


def _presence(dims: Dims, rows: int = _ROWS) -> Views:
    """Return half of the views as present; none in the first row, all in the second."""
    generator = torch.Generator().manual_seed(5)
    present = {name: torch.rand(rows, generator=generator) < 0.5 for name in dims}
    for mask in present.values():
        mask[0], mask[1:2] = False, True
    return present


def _given(views: Views, present: Views) -> Views:
    """Return all tensors that a fusion gets, by name."""
    return {**views, **{f"present[{name!r}]": value for name, value in present.items()}}


def _replaced(value: Tensor, present: Tensor) -> Tensor:
    """Return other content where the view is absent."""
    return torch.where(present.view(-1, *[1] * (value.ndim - 1)), value, 1e3 * value + 7)


def _logits_of(model: Fusion, views: Views, present: Views | None = None) -> Tensor:
    """Return logits (B, C) without gradient."""
    with torch.no_grad():
        return _logits_in(_run(model, views, present))


def _logits_in(output: FusionOutput) -> Tensor:
    assert output.logits is not None  # forward() sets them
    return output.logits


def _require_same_logits(found: Fusion, expected: Fusion, what: str) -> None:
    views, present = _batch(expected), _presence(expected.in_dims)
    require_same(_logits_of(found, views, present), _logits_of(expected, views, present), what)


def _skip_unless_missing(model: Fusion, missing: str) -> None:
    if model.missing != missing:
        raise Skipped(f"missing = {model.missing!r}")


def _training_loss(model: Fusion) -> Tensor:
    """Return the loss of a batch in training mode, with the same dropout each time."""
    with _seeded(0):
        return _loss(model.train(), _batch(model, _TRAINING_ROWS))


def _loss(model: Fusion, views: Views, present: Views | None = None) -> Tensor:
    """Return the training loss of frames of several clips; all views are present by default."""
    row = torch.arange(len(views[model.main]))
    if present is None:
        present = {name: torch.ones_like(row, dtype=torch.bool) for name in views}
    batch = Batch(views, present, row % model.num_classes, clip=row // 4, number=row % 4 + 1, row=row, epoch=1)
    return model.training_loss(_run(model, views, present), batch)


def _scalar(loss: Tensor) -> Tensor:
    """Return the loss.

    Raises:
        Skipped: if it is not a scalar with a gradient, which another check reports.
    """
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise Skipped("loss_is_a_finite_scalar fails")
    return loss


def _matters(model: Fusion, parameter: Tensor) -> bool:
    """Return whether other values of the parameter change the loss by more than rounding."""
    with torch.no_grad():
        before, kept = _training_loss(model), parameter.clone()
        with _seeded(1):
            parameter.add_(torch.randn_like(parameter))
        after = _training_loss(model)
        parameter.copy_(kept)
    return not torch.allclose(before, after, rtol=1e-5, atol=1e-6)
