"""Restore trained heads and smoothers from what is stored of them, and check that they predict the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.engine.features import FrameFeatures, Timeline, batches_of
from fusionkit.engine.smooth import TaskSmoother
from fusionkit.errors import FusionKitError, PluginError, cause_of, component_errors
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from fusionkit.contracts.fusion import FittedFusion, Fusion
    from fusionkit.engine.fit import Head

State = Mapping[str, np.ndarray]

_PREFIX = "fusion."  # of the fusion's own arrays in the state of a head
_CHECKED = 1000  # frames of whole clips by which a restored smoother is checked


def restored_fusion(
    fusion: Spec, state: State, in_dims: dict[str, int], num_classes: int, device: str
) -> Fusion | FittedFusion:
    """Build a fusion with its stored parameters.

    Args:
        fusion: name and options.
        state: learned arrays of its head, by name.
        in_dims: width of each view, main view first.
        num_classes: C.
        device: torch device.

    Raises:
        PluginError: if the fusion does not accept them.
    """
    import torch

    from fusionkit.contracts.fusion import FittedFusion
    from fusionkit.engine.fit import WithViewHeads

    learned = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    with torch.random.fork_rng(devices=[]):
        model: Any = FUSIONS.build(fusion, in_dims=in_dims, num_classes=num_classes)
        try:
            if isinstance(model, FittedFusion):
                model.restore({name: value.copy() for name, value in learned.items()})
                return model
            model.attach_head()
            if any(name.startswith("adapters.") for name in learned):
                model = WithViewHeads(model, weight=0.0, modulation=0.0)  # both apply to training only
            model.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
        except FusionKitError:
            raise
        except component_errors() as error:
            raise PluginError(
                f"fusion {fusion} does not accept its stored state: {cause_of(error)}",
                hint="its code has changed since it was trained, or its parameters depend on more than its options",
            ) from error
    found: Fusion = model.to(device).eval()
    return found


def restored_smoother(task: Task, spec: Spec, state: State | None) -> TaskSmoother:
    """Build a smoother with the state that was stored of it; None if it does not learn.

    Raises:
        PluginError: if it learns and has no state, or does not accept it.
    """
    smoother = TaskSmoother.of(task, spec)
    if not smoother.fitted:
        return smoother
    if state is None:
        raise PluginError(
            f"smoother {spec} was fitted on dev frames, but its state is not stored: it cannot be applied",
            hint="its class must return the fitted state in state()",
        )
    try:
        smoother.restore({name: value.copy() for name, value in state.items()})
    except component_errors() as error:
        raise PluginError(f"smoother {spec} does not accept its stored state: {cause_of(error)}") from error
    return smoother


def check_restored_fusion(
    fusion: Spec,
    head: Head,
    dev: FrameFeatures,
    timeline: Timeline,
    in_dims: dict[str, int],
    seed: int,
    device: str,
) -> None:
    """Check that a head gives its logits again after its state has been stored and restored.

    One batch of dev frames decides: an array that is not stored has another value in every frame that it takes part in.
    Of a fusion over time, whose frames depend on each other, all dev frames are compared.

    Args:
        fusion: of the head.
        head: the trained head.
        dev: its dev features.
        timeline: of the dev frames.
        in_dims: width of each view, main view first.
        seed: of its training. Initial values are drawn with another one, so that they differ.
        device: torch device.

    Raises:
        PluginError: if it gives other logits, or does not accept its state.
    """
    import torch

    from fusionkit.engine.fit import rows_at_once

    of_clips = getattr(FUSIONS.get(fusion.name), "needs", "pooled") == "clip"
    batch = dev if of_clips else dev.take(np.arange(min(len(dev.seen), rows_at_once(dev))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        model = restored_fusion(fusion, head.state, in_dims, head.dev_logits.shape[1], device)
        found, expected = _logits(model, batch, timeline, fusion, device), head.dev_logits[: len(batch.seen)]
        if np.array_equal(found, expected, equal_nan=True):
            return
        same = np.array_equal(found, _logits(model, batch, timeline, fusion, device), equal_nan=True)
        cause = _not_stored(model, batch, device) if same else "its predictions are random"
    raise PluginError(
        f"fusion {fusion} gives other logits after its stored state is restored than after training (by up to "
        f"{np.nanmax(np.abs(found - expected)):.3g} on dev): {cause}"
    )


def check_restored_smoother(spec: Spec, expected: np.ndarray, found: np.ndarray) -> None:
    """Check that a smoother restored from its stored state gives the probabilities that the fitted one gave.

    Raises:
        PluginError: if it does not.
    """
    if not np.array_equal(found, expected):
        raise PluginError(
            f"smoother {spec} gives other probabilities after its stored state is restored than after fitting (by up "
            f"to {np.abs(found - expected).max():.3g} on test)",
            hint="state() must return everything that fit() learns, and restore() must load it",
        )


def leading_frames(clip: np.ndarray) -> np.ndarray:
    """Return the rows of the first clips: at least 1,000 frames, or all; ``clip`` is (n,) str, the clip of each."""
    return np.flatnonzero(np.isin(clip, clip[:_CHECKED]))


def _logits(
    model: Fusion | FittedFusion, features: FrameFeatures, timeline: Timeline, spec: Spec, device: str
) -> np.ndarray:
    from fusionkit.contracts.fusion import FittedFusion
    from fusionkit.engine.fit import evaluate, evaluate_fitted

    if isinstance(model, FittedFusion):
        return evaluate_fitted(model, features, spec)
    return evaluate(model, batches_of(features, device), features, timeline, spec)


def _not_stored(model: Fusion | FittedFusion, features: FrameFeatures, device: str) -> str:
    """Return the likely cause of other logits: what the model does not store."""
    from fusionkit.contracts.fusion import FittedFusion
    from fusionkit.testing.model_tensors import unregistered_tensors

    if isinstance(model, FittedFusion):
        return "state() must return everything that fit() learns, and restore() must load it"
    views, present = next(batches_of(features, device).all(8))
    names = unregistered_tensors(model, lambda: model(views, present).logits)
    if not names:
        return "a value that is neither a parameter nor a buffer takes part"
    return f"{', '.join(names)} must be parameters or buffers (nn.ParameterList, register_buffer) to be stored"
