"""The encoder: a vision transformer of timm, and its weights file, which the ``timm`` backbone reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.config.section import Section
from fusionkit.contracts.option_types import Count, Positive
from fusionkit.errors import ConfigError
from fusionkit.registry import did_you_mean
from fusionkit.storage.artifact import write_file
from fusionkit.training.crop import INTERPOLATION, MEAN, STD

if TYPE_CHECKING:
    from timm.models import VisionTransformer

HEADER = "fusionkit"  # key of the safetensors header that holds the architecture, as JSON
FORMAT = 1


@dataclass(frozen=True)
class EncoderOptions(Section):
    """The vision transformer to pre-train. None is the value of the named model.

    Args:
        model: timm name of a plain vision transformer with a class token.
        size: side of the images in pixels.
        patch: side of a patch in pixels.
        width: of the tokens.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP by ``width``.
        positions: ``sincos``: fixed, as in MAE; ``learned``: as in timm.
    """

    model: str = "vit_base_patch16_224"
    size: Count | None = None
    patch: Count | None = None
    width: Count | None = None
    depth: Count | None = None
    heads: Count | None = None
    mlp_ratio: Positive | None = None
    positions: Literal["sincos", "learned"] = "sincos"

    def timm_options(self) -> dict[str, Any]:
        """Return the given sizes, by timm's names."""
        named = {
            "img_size": self.size,
            "patch_size": self.patch,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.heads,
            "mlp_ratio": self.mlp_ratio,
        }
        return {name: value for name, value in named.items() if value is not None}


def build_encoder(options: EncoderOptions) -> VisionTransformer:
    """Build the transformer with random weights, without a classifier.

    Raises:
        ConfigError: if timm has no such model, its sizes do not fit together, or it is not a plain vision transformer.
    """
    import timm
    from timm.models import VisionTransformer

    if not timm.is_model(options.model):
        near = did_you_mean(options.model, timm.list_models("*vit*"))
        raise ConfigError(f"encoder: timm has no model {options.model!r}{near}")
    try:
        model: Any = timm.create_model(options.model, num_classes=0, **options.timm_options())
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ConfigError(f"encoder: timm cannot build {options.model} with these sizes: {reason}") from error
    plain = isinstance(model, VisionTransformer) and model.has_class_token and model.num_prefix_tokens == 1
    if not plain or model.pos_embed is None or model.global_pool != "token":
        raise ConfigError(
            f"encoder: {options.model} is no plain vision transformer with one class token and position embeddings",
            hint="use one such as vit_base_patch16_224",
        )
    sizes = model.patch_embed.img_size + model.patch_embed.patch_size
    if sizes[0] != sizes[1] or sizes[2] != sizes[3] or sizes[0] % sizes[2]:
        raise ConfigError(f"encoder: patches of {sizes[2]} px do not tile a square of {sizes[0]} px")
    if options.positions == "sincos":
        _fix_positions(model)
    encoder: VisionTransformer = model
    return encoder


def _fix_positions(model: VisionTransformer) -> None:
    from fusionkit.training.mae import sincos_positions

    assert model.pos_embed is not None
    if model.embed_dim % 4:
        raise ConfigError(f"encoder: width = {model.embed_dim} must be a multiple of 4 for sincos positions")
    fixed = sincos_positions(model.patch_embed.grid_size, model.embed_dim)
    model.pos_embed.data.copy_(fixed[:, -model.pos_embed.shape[1] :])
    model.pos_embed.requires_grad_(False)


def write_encoder(path: Path, model: VisionTransformer, options: EncoderOptions, about: dict[str, Any]) -> None:
    """Write weights by timm's names; the header holds the options to build their model.

    Args:
        path: a ``.safetensors`` file.
        model: the encoder.
        options: of the encoder.
        about: plain data on the origin of the weights.

    Raises:
        StorageError: if it cannot be written.
    """
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "model": options.model,
        "options": options.timm_options(),
        "mean": MEAN,
        "std": STD,
        "interpolation": INTERPOLATION,
        "about": about,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_file(path, save(state, metadata={HEADER: json.dumps(header, sort_keys=True)}))


def is_trained_here(path: Path) -> bool:
    """Return whether ``pretrain`` or ``finetune`` wrote a weights file; its header then names the model."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return HEADER in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False
