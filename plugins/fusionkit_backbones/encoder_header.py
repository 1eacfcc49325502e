"""What a training run writes beside its weights: of which model they are, and how its images are prepared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fusionkit.errors import DataError

KEY = "fusionkit"  # of the safetensors header
FORMAT = 2  # 1 is of pre-training, which says neither pool nor size
# A file is data: of what timm would take, it decides sizes only.
SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")


@dataclass(frozen=True)
class EncoderHeader:
    """The architecture of a file of weights.

    Attributes:
        model: name in timm.
        sizes: what differs from that model, by timm's names.
        mean: per RGB channel, of values scaled to 0..1.
        std: per RGB channel, of values scaled to 0..1.
        interpolation: in timm's words.
        pool: timm's ``global_pool``; None is the model's own.
        size: height and width in pixels where the model takes several; None is its own, or in ``sizes``.
        about: plain data on where the weights come from.
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
        """The metadata of a ``.safetensors`` file."""
        told = {
            "format": FORMAT,
            "model": self.model,
            "options": self.sizes,
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "pool": self.pool,
            "size": self.size,
            "about": self.about,
        }
        return {KEY: json.dumps(told, sort_keys=True)}

    @property
    def trained_on(self) -> tuple[tuple[str, str], ...]:
        """The labelled data that the weights have learned from, as the contract of a backbone has it."""
        return tuple((str(data), str(split)) for data, split in self.about.get("trained_on", ()))


def read_header(path: str) -> EncoderHeader | None:
    """The header of a ``.safetensors`` file of ``fusionkit pretrain`` or ``finetune``; None for any other file.

    Raises:
        DataError: if there is such a header but it cannot be understood.
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
        raise DataError(f"checkpoint {path} has a header with options that are no sizes: {', '.join(unknown)}")
    return header


def _metadata(path: str) -> dict[str, str]:
    """The safetensors metadata; empty where the file is of another kind or broken: reading its weights tells."""
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
        raise TypeError(f"{value!r} is no number")
    return value


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(_number, values)
    return float(first), float(second), float(third)
