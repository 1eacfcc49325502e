"""The input of a backbone's network, and what it shows: order of channels and axes, and normalisation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np


def input_of_network(embed: Callable[[np.ndarray], object], views: np.ndarray) -> np.ndarray | None:
    """Return the first batch of three channels that a network of torch or ONNX Runtime gets while views are embedded.

    Args:
        embed: embeds a batch.
        views: (B, H, W, 3) uint8.

    Returns:
        (B, 3, H', W') float64; None if no network gets such a batch, as in a backbone of NumPy.
    """
    found: list[np.ndarray] = []

    def note(value: Any) -> None:
        shape = tuple(getattr(value, "shape", ()))
        if found or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            return
        array = value.detach().to("cpu").double().numpy() if hasattr(value, "detach") else np.asarray(value, np.float64)
        found.append(array if shape[1] == 3 else np.moveaxis(array, 3, 1))

    with _watched_modules(note), _watched_sessions(note):
        embed(views)
    return found[0] if found and len(found[0]) == len(views) else None


def describe_input(given: np.ndarray, views: np.ndarray, mean: Any, std: Any) -> str:
    """Compare the input of a network with views normalised as declared.

    Args:
        given: (B, 3, H', W') input.
        views: (B, H, W, 3) uint8 RGB.
        mean: declared mean of each channel.
        std: declared standard deviation of each channel.

    Returns:
        Empty if the input is as declared; the fault if it is a known one; ``"other"`` otherwise.
    """
    pixels = np.moveaxis(views.astype(np.float64), 3, 1)
    mean, std = (np.asarray(values, np.float64).reshape(1, 3, 1, 1) for values in (mean, std))
    orders = {
        "": pixels,
        "channels are in the order BGR": pixels[:, ::-1],
        "rows and columns are exchanged": pixels.swapaxes(2, 3),
        "channels are in the order BGR, and rows and columns are exchanged": pixels[:, ::-1].swapaxes(2, 3),
    }
    scales: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "": lambda x: (x / 255 - mean) / std,
        "values are divided by 255 twice": lambda x: (x / 255 / 255 - mean) / std,
        "values are not divided by 255": lambda x: (x - mean) / std,
        "values are not normalised by mean and std": lambda x: x / 255,
        "values of 0..255 are not normalised by mean and std": lambda x: x,
    }
    for scale, normalised in scales.items():
        for order, values in orders.items():
            expected = normalised(values)
            # 1e-2 of the range: bfloat16 has three digits.
            if expected.shape == given.shape and np.abs(given - expected).max() < 1e-2 * np.ptp(expected):
                return "; ".join(fault for fault in (order, scale) if fault)
    return "other"


@contextmanager
def _watched_modules(note: Callable[[Any], None]) -> Iterator[None]:
    """Note the inputs of all modules of torch, if it is loaded."""
    if "torch" not in sys.modules:
        yield
        return
    from torch.nn.modules.module import register_module_forward_pre_hook

    def hook(_module: Any, inputs: tuple[Any, ...]) -> None:
        for value in inputs:
            note(value)

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _watched_sessions(note: Callable[[Any], None]) -> Iterator[None]:
    """Note the inputs of all sessions of ONNX Runtime, if it is loaded."""
    runtime: Any = sys.modules.get("onnxruntime")
    session = getattr(runtime, "InferenceSession", None)
    if session is None:
        yield
        return
    run = session.run

    @wraps(run)
    def watched(self: Any, outputs: Any, inputs: Any, *others: Any, **options: Any) -> Any:
        for value in inputs.values():
            note(value)
        return run(self, outputs, inputs, *others, **options)

    session.run = watched
    try:
        yield
    finally:
        session.run = run
