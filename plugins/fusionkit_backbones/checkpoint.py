"""Local checkpoint files: weights into a model, all or nothing, and the header of files that fusionkit wrote.

No file runs code: anything that needs unpickling is refused.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import ConfigError, DataError, cause_of

if TYPE_CHECKING:
    from fusionkit_backbones.timm_model import Weights

# Keys under which training scripts store the model's weights, beside the optimiser's and others.
NESTS = ("model", "state_dict", "model_state", "model_state_dict", "net")
AVERAGED = tuple(f"{name}_ema" for name in NESTS)  # exponential moving averages of the weights
MAE_DECODER = ("decoder_", "mask_token")  # the half of a masked autoencoder that is not the encoder
SHOWN = 6

KEY = "fusionkit"  # of the safetensors header
FORMAT = 2  # 1 is of pre-training, without pool and size
# Of timm's options, a header may set sizes only.
SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")

_EMA_PREFIX = re.compile(r"(^|[._])ema[._]")
_MAE_FILE = re.compile(r"(?<![a-z])(mae|simmim)(?![a-z])", re.IGNORECASE)
_POSITIONS = re.compile(r"pos_embed|position|rel_pos")


@dataclass(frozen=True)
class Loaded:
    """Report on a file of weights that was loaded.

    Attributes:
        notes: what was chosen, renamed, ignored or resampled, one line each.
        is_masked_autoencoder: whether the weights look like those of masked-autoencoder pre-training.
    """

    notes: tuple[str, ...]
    is_masked_autoencoder: bool


def load_checkpoint(
    model: nn.Module,
    path: str,
    classifiers: Collection[str] = (),
    *,
    weights: Weights | None = None,
    resample: bool = False,
    encoder_of: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Loaded:
    """Load the weights of a file into a model.

    A prefix with which the file has every name of the model is removed. A vision transformer that pools its tokens
    before the last norm has it as ``fc_norm``; weights that were trained with it before the pooling have it as
    ``norm``. If nothing else differs, ``norm`` is loaded as ``fc_norm``. A masked autoencoder's decoder is ignored.

    Args:
        model: takes the weights.
        path: a ``.safetensors`` file, or a file written by ``torch.save``.
        classifiers: modules whose weights the file may hold although the model, having no classes, does not.
        weights: of a file with both, the exponential moving average or the raw weights. Default: the average.
        resample: resample position embeddings of another grid, as timm does.
        encoder_of: selects the tensors to load, by name without prefix. Default: all.

    Raises:
        ConfigError: if there is no such file.
        DataError: if the file cannot be read as weights alone, its names and shapes are not those of the model, or a
            value is not finite. Nothing is loaded then.
    """
    own, what, name = model.state_dict(), f"checkpoint {path}", Path(path).name
    state, notes, is_averaged = _unnested(path, weights)
    prefix, prefix_notes = _prefix(state, own, what, weights)
    notes += prefix_notes
    if weights and (weights == "ema") != (is_averaged or bool(_EMA_PREFIX.search(prefix))):
        raise DataError(f"{what} has no {weights} weights", hint="leave the option weights out")
    outside = [key for key in state if not key.startswith(prefix)]
    state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    decoder = [key for key in state if key.startswith(MAE_DECODER) and key not in own]
    is_masked = bool(decoder) or bool(_MAE_FILE.search(Path(path).stem)) or _has_blank_class_position(state)
    state = encoder_of(state)
    ignored = [*outside, *(key for key in decoder if key in state)]
    if ignored:
        notes.append(f"ignored beside the encoder: {counted(ignored)}")
    heads = tuple(f"{each}." for each in classifiers)
    state = {key: value for key, value in state.items() if key in own or not (key in ignored or key.startswith(heads))}
    state = {new: state[key] for key, new in _norm_names(state, own).items()}
    if resample:
        state, resampled = _resampled(state, model)
        notes += resampled
    _check_fit(state, model, what + (f", without prefix {prefix!r}," if prefix else ""), resample=resample)
    check_finite(state, what)
    model.load_state_dict(state, strict=False)
    return Loaded(tuple(f"{name}: {note}" for note in notes), is_masked)


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise :class:`DataError` with the names of tensors that hold NaN or infinite values."""
    if found := [name for name, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise DataError(f"{what}: NaN or infinite values in {_some(found)}")


def counted(names: Iterable[str]) -> str:
    """Return the first parts of dotted names, each with its count: ``decoder_blocks (24), mask_token (1)``."""
    parts = Counter(name.partition(".")[0] for name in names)
    return ", ".join(f"{part} ({count})" for part, count in sorted(parts.items()))


def _unnested(path: str, weights: Weights | None) -> tuple[dict[str, Tensor], list[str], bool]:
    """Read the named tensors of a file, without the nesting of training scripts.

    Returns:
        The tensors, a note if the file holds several sets of weights, and whether they are a moving average.

    Raises:
        ConfigError: if there is no such file.
        DataError: if the file cannot be read, or its weights are not all tensors.
    """
    if not Path(path).is_file():
        raise ConfigError(f"checkpoint {path} is not a file")
    state, notes, is_averaged = _read(path), list[str](), False
    choices = NESTS if weights == "raw" else (*AVERAGED, *NESTS)
    while isinstance(state, dict) and (nest := next((key for key in choices if _is_dict(state.get(key))), None)):
        found = [key for key, value in state.items() if _is_state(value)]
        notes += [f"holds {', '.join(map(str, found))}: {nest} is loaded"] if len(found) > 1 else []
        state, is_averaged = state[nest], is_averaged or nest in AVERAGED
    if not _is_state(state):
        averages = [key for key in AVERAGED if isinstance(state, dict) and key in state]
        if averages:
            raise DataError(f"checkpoint {path} has no raw weights, only {_some(averages)}", hint="weights=ema")
        raise DataError(
            f"checkpoint {path} holds no state dict, neither at its top nor under {', '.join(NESTS)}",
            hint="save it with safetensors.torch.save_file(model.state_dict(), FILE)",
        )
    return state, notes, is_averaged


def _is_dict(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _is_state(value: object) -> bool:
    """Return whether a value is a state dict: named tensors, at least one."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _prefix(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, weights: Weights | None
) -> tuple[str, list[str]]:
    """Return the prefix with which a file has the names of a model, and notes. The prefix is empty if none is needed.

    Raises:
        DataError: if the file has all names of the model with several prefixes, and ``weights`` does not decide.
    """
    shares: Counter[str] = Counter()
    known = {*own, *(name.removeprefix("fc_") for name in own)}
    for name in state:
        parts = name.split(".")
        cuts = (cut for cut in range(len(parts)) if ".".join(parts[cut:]) in known)
        shares.update("".join(f"{part}." for part in parts[:cut]) for cut in cuts)
    complete = [prefix for prefix in shares if not _missing(own, _names_under(prefix, state))]
    if "" in complete or not shares:
        return "", []
    if not complete:  # the closest names, for the message
        prefix, share = shares.most_common(1)[0]
        return (prefix if share > len(own) / 2 else ""), []
    averages = [prefix for prefix in complete if _EMA_PREFIX.search(prefix)]
    raw = [prefix for prefix in complete if prefix not in averages]
    chosen = (raw if weights == "raw" else averages) or complete
    if len(chosen) != 1:
        raise DataError(
            f"{what} has the weights of this model several times, with the prefixes {', '.join(map(repr, complete))}",
            hint="save the wanted ones alone, without prefix",
        )
    notes = [f"weights with the prefixes {', '.join(map(repr, complete))} fit"] if len(complete) > 1 else []
    return chosen[0], [*notes, f"prefix {chosen[0]!r} of names is removed"]


def _names_under(prefix: str, state: Iterable[str]) -> list[str]:
    """Return the names with a prefix, without it."""
    return [name.removeprefix(prefix) for name in state if name.startswith(prefix)]


def _norm_names(names: Iterable[str], own: Collection[str]) -> dict[str, str]:
    """Return by name the name in the model: ``norm`` is ``fc_norm`` if each side has one of the two."""
    given = list(names)
    moved = not any(name.startswith("fc_norm.") for name in given) and not any(name.startswith("norm.") for name in own)
    return {name: f"fc_{name}" if moved and f"fc_{name}" in own else name for name in given}


def _missing(own: Collection[str], names: Iterable[str]) -> list[str]:
    """Return the model's names that a file lacks.

    A batch norm counts its training batches, which files without a version may omit and inference never reads.
    """
    given = set(_norm_names(names, own).values())
    return [name for name in own if name not in given and not name.endswith("num_batches_tracked")]


def _check_fit(state: Mapping[str, Tensor], model: nn.Module, what: str, *, resample: bool) -> None:
    """Raise :class:`DataError` with all differences between the weights and a model, by name and count."""
    own = model.state_dict()
    misshaped = [
        f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    unexpected = [name for name in state if name not in own]
    found = {"missing": _missing(own, state), "unexpected": unexpected, "misshaped": misshaped}
    if problems := [f"{len(names)} {kind}: {_some(names)}" for kind, names in found.items() if names]:
        message = f"{what} does not fit this {type(model).__name__}: {'; '.join(problems)}"
        raise DataError(message, hint=_grids(state, model, resample=resample))


def _grids(state: Mapping[str, Tensor], model: nn.Module, *, resample: bool) -> str:
    """Return a hint if the position embeddings of a vision transformer are of another grid than the model's."""
    given, own, patches = state.get("pos_embed"), getattr(model, "pos_embed", None), getattr(model, "patch_embed", None)
    grid, side = getattr(patches, "grid_size", None), getattr(patches, "img_size", None)
    if given is None or own is None or grid is None or side is None or given.ndim != 3 or given.shape == own.shape:
        return ""
    count = given.shape[1] - (own.shape[1] - math.prod(grid))
    root = math.isqrt(max(count, 0))
    theirs = f"{root} x {root}" if root**2 == count else f"{count}"
    remedy = "timm cannot resample it" if resample else f"size={side[0]} resamples it"
    return f"pos_embed is of {theirs} patches, the model's of {grid[0]} x {grid[1]}; {remedy}"


def _resampled(state: dict[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Resample position embeddings of another grid by the function that timm uses for the model's published weights.

    Returns:
        The weights, and a note if some are resampled. What cannot be resampled is unchanged.
    """
    own = model.state_dict()
    wanted = [
        name
        for name, value in state.items()
        if _POSITIONS.search(name) and name in own and value.shape != own[name].shape
    ]
    timms = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if not wanted or timms is None:
        return state, []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of timm's own code
            adapted = timms(dict(state), model)
    except Exception:  # noqa: BLE001  (weights that it does not expect; they do not fit the model either)
        return state, []
    fitting = {name: adapted[name] for name in wanted if name in adapted and adapted[name].shape == own[name].shape}
    shapes = [f"{name} {tuple(state[name].shape)} to {tuple(value.shape)}" for name, value in fitting.items()]
    return {**state, **fitting}, [f"resampled as in timm: {_some(shapes)}"] if shapes else []


def _has_blank_class_position(state: Mapping[str, Tensor]) -> bool:
    """Return whether the class token's position embedding is zero: fixed in masked autoencoders, learned elsewhere."""
    positions = state.get("pos_embed")
    if "cls_token" not in state or positions is None or positions.ndim != 3:
        return False
    return bool(positions.any()) and not bool(positions[0, 0].any())


def _read(path: str) -> Any:
    if mistaken := mistaken_file(path):
        raise DataError(f"checkpoint {path} {mistaken[0]}", hint=mistaken[1])
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


def mistaken_file(path: str) -> tuple[str, str] | None:
    """Return the kind of a file that is not of the kind of its ending, and a hint."""
    file = Path(path)
    with open_file(file) as stream:
        head = stream.read(64)
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights", "download the weights again, by the link of the file itself"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights", "git lfs pull downloads them"
    is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= file.stat().st_size - 8
    if is_safetensors and file.suffix != ".safetensors":
        return "is a safetensors file", f"rename it to {file.with_suffix('.safetensors').name}"
    if not is_safetensors and file.suffix == ".safetensors" and head.startswith((b"PK\x03\x04", b"\x80")):
        return "is a file of torch.save, not safetensors", f"rename it to {file.with_suffix('.pth').name}"
    return None


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
        open_file(path).close()
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
