"""Local checkpoint files: weights into a model, all or nothing, and the header of files that fusionkit wrote.

No file runs code: anything that needs unpickling is refused.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.errors import ConfigError, DataError, cause_of

# Keys under which training scripts store the model's weights, beside the optimiser's and others.
NESTS = ("model", "state_dict", "model_state", "model_state_dict", "net")
# Prefixes that DistributedDataParallel and torch.compile add to every name.
WRAPPERS = ("module.", "_orig_mod.")
SHOWN = 6

KEY = "fusionkit"  # of the safetensors header
FORMAT = 2  # 1 is of pre-training, without pool and size
# Of timm's options, a header may set sizes only.
SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")


def load_checkpoint(model: nn.Module, path: str, classifiers: Collection[str] = ()) -> None:
    """Load the weights of a file into a model.

    A vision transformer that pools its tokens before the last norm has it as ``fc_norm``; weights that were trained
    with it before the pooling have it as ``norm``. If nothing else differs, ``norm`` is loaded as ``fc_norm``.

    Args:
        model: takes the weights.
        path: a ``.safetensors`` file, or a file written by ``torch.save``.
        classifiers: modules whose weights the file may hold although the model, having no classes, does not.

    Raises:
        ConfigError: if there is no such file.
        DataError: if the file cannot be read as weights alone, or its names and shapes are not those of the model.
    """
    fit_weights(model, read_weights(path), path, classifiers)


def fit_weights(model: nn.Module, state: dict[str, Tensor], path: str, classifiers: Collection[str] = ()) -> None:
    """Load named tensors into a model, as :func:`load_checkpoint` does those of the file ``path``.

    Raises:
        DataError: if their names and shapes are not those of the model: all differences, by name and count.
    """
    own = model.state_dict()
    heads = tuple(f"{name}." for name in classifiers)
    state = {name: value for name, value in state.items() if name in own or not name.startswith(heads)}
    if not any(name.startswith("fc_norm.") for name in state) and not any(name.startswith("norm.") for name in own):
        state = {f"fc_{name}" if f"fc_{name}" in own else name: value for name, value in state.items()}
    # A batch norm counts its training batches, which files without a version may omit and inference never reads.
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
    """Read the named tensors of a file, without the nesting and the prefixes of training scripts.

    Raises:
        ConfigError: if there is no such file.
        DataError: if the file cannot be read, or its weights are not all tensors.
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
        # Training scripts store their options beside the weights, in a class that only holds values.
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
        raise DataError(f"checkpoint {path} cannot be read: {cause_of(error)}") from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@dataclass(frozen=True)
class EncoderHeader:
    """The metadata that a training run writes beside its weights: their model, and how its images are prepared.

    Attributes:
        model: name in timm.
        sizes: differences from that model, by timm's names.
        mean: per RGB channel, of values scaled to 0..1.
        std: per RGB channel, of values scaled to 0..1.
        interpolation: timm's name.
        pool: timm's ``global_pool``; None is the model's own.
        size: height and width in pixels where the model takes several; None is its own, or in ``sizes``.
        about: plain data on the origin of the weights.
    """

    model: str
    sizes: dict[str, int | float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    pool: str | None = None
    size: int | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def dump(self) -> dict[str, str]:
        """Return the metadata of a ``.safetensors`` file."""
        named = {("options" if name == "sizes" else name): value for name, value in vars(self).items()}
        return {KEY: json.dumps({"format": FORMAT, **named}, sort_keys=True)}

    @property
    def trained_on(self) -> tuple[tuple[str, str], ...]:
        """The labelled data of the training, as :meth:`fusionkit.contracts.Backbone.trained_on` returns it."""
        return tuple((str(data), str(split)) for data, split in self.about.get("trained_on", ()))


def read_header(path: str) -> EncoderHeader | None:
    """Read the header of a ``.safetensors`` file of ``fusionkit pretrain`` or ``finetune``; None for any other file.

    Raises:
        DataError: if the header is damaged, or of a later format.
    """
    text = _metadata(path).get(KEY)
    if text is None:
        return None
    try:
        found = json.loads(text)
        if found["format"] > FORMAT:
            raise DataError(f"checkpoint {path} was written by a later fusionkit")
        sizes = {name: _number(value) for name, value in found["options"].items()}
        mean, std = (_three(found[name]) for name in ("mean", "std"))
        pool, size = found.get("pool"), found.get("size")
        header = EncoderHeader(
            model=str(found["model"]),
            sizes=sizes,
            mean=mean,
            std=std,
            interpolation=str(found["interpolation"]),
            pool=None if pool is None else str(pool),
            size=None if size is None else int(_number(size)),
            about=dict(found.get("about", {})),
        )
        header.trained_on  # noqa: B018  (raises where it is not pairs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"checkpoint {path} has a damaged header: {type(error).__name__}: {error}") from error
    if unknown := sorted(set(sizes) - set(SIZES)):
        raise DataError(f"checkpoint {path} has unknown sizes in its header: {', '.join(unknown)}")
    return header


def _metadata(path: str) -> dict[str, str]:
    """Return the safetensors metadata; empty for other or broken files, which fail when their weights are read."""
    if not path.endswith(".safetensors"):
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return value


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(_number, values)
    return float(first), float(second), float(third)
