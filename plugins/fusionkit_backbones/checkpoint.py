"""Weights from a local file into a model, all or nothing: a file is data here, and never runs code."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.errors import ConfigError, DataError

# Where training scripts put the model's weights among the optimiser's and their own.
NESTS = ("model", "state_dict", "model_state", "model_state_dict", "net")
# What DistributedDataParallel and torch.compile put in front of every name.
WRAPPERS = ("module.", "_orig_mod.")
SHOWN = 6


def load_checkpoint(model: nn.Module, path: str, classifiers: Collection[str] = ()) -> None:
    """Load the weights of a file into a model.

    A vision transformer that pools its tokens before the last norm has it as ``fc_norm``; weights that were trained
    with it before the pooling have it as ``norm``. Where that is the only difference, ``norm`` serves as ``fc_norm``.

    Args:
        model: takes the weights.
        path: a ``.safetensors`` file, or whatever ``torch.save`` wrote.
        classifiers: modules whose weights the file may hold although the model, having no classes, does not.

    Raises:
        ConfigError: if there is no such file.
        DataError: if the file cannot be read as weights alone, or its names and shapes are not those of the model.
    """
    fit_weights(model, read_weights(path), path, classifiers)


def fit_weights(model: nn.Module, state: dict[str, Tensor], path: str, classifiers: Collection[str] = ()) -> None:
    """Load named tensors into a model, as :func:`load_checkpoint` does those of the file ``path``.

    Raises:
        DataError: if their names and shapes are not those of the model: all that is wrong, by name and count.
    """
    own = model.state_dict()
    heads = tuple(f"{name}." for name in classifiers)
    state = {name: value for name, value in state.items() if name in own or not name.startswith(heads)}
    if not any(name.startswith("fc_norm.") for name in state) and not any(name.startswith("norm.") for name in own):
        state = {f"fc_{name}" if f"fc_{name}" in own else name: value for name, value in state.items()}
    # A batch norm counts its training batches, which files without a version may leave out and inference never reads.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshaped = [
        f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "misshaped": misshaped}
    problems = [f"{len(names)} {what}: {_some(names)}" for what, names in found.items() if names]
    if problems:
        raise DataError(f"checkpoint {path} does not fit this {type(model).__name__}: {'; '.join(problems)}")
    model.load_state_dict(state, strict=False)


def read_weights(path: str) -> dict[str, Tensor]:
    """The named tensors of a file, without the nesting and the prefixes that training leaves around them.

    Raises:
        ConfigError: if there is no such file.
        DataError: if the file cannot be read, or holds anything that is no tensor where the weights should be.
    """
    if not Path(path).is_file():
        raise ConfigError(f"checkpoint {path} is not a file")
    state = _read(path)
    while isinstance(state, dict) and (nest := next((n for n in NESTS if isinstance(state.get(n), dict)), None)):
        state = state[nest]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(
            f"checkpoint {path} holds no state dict, neither at its top nor under {', '.join(NESTS)}",
            hint="save it with safetensors.torch.save_file(model.state_dict(), FILE)",
        )
    while prefix := next((p for p in WRAPPERS if all(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _read(path: str) -> Any:
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        # Training scripts keep their options beside the weights; the class of those options only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual files, which either load or are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds Python objects ({named[1]})" if named else "is not plain weights of torch.save"
        raise DataError(
            f"checkpoint {path} {what}; unpickling could run code: refused",
            hint="where you trust it, save its state dict alone as .safetensors",
        ) from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"checkpoint {path} cannot be read: {reason}") from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
