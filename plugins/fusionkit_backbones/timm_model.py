"""Any model of timm as a backbone."""

from __future__ import annotations

import difflib
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusionkit.contracts import Backbone
from fusionkit.contracts.backbone import Interpolation
from fusionkit.errors import ConfigError, DataError, PluginError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fusionkit_backbones.encoder_header import EncoderHeader

# timm's names of interpolations, in the contract's words.
INTERPOLATIONS: dict[str, Interpolation] = {"bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos"}
PRECISIONS = ("auto", "float32", "bfloat16")


class TimmModel(Backbone):
    """Any image model of timm by its name: vision transformers, conv nets, hybrids.

    The embedding is what the model hands to its classifier, which is left out. Input size, mean, standard deviation
    and interpolation are those of the model's own data config; its centre crop is not made, since a view is a crop
    already. With neither ``pretrained`` nor ``checkpoint`` the weights are random: a control of what an untrained
    network of that shape already separates.

    A file that ``fusionkit pretrain`` or ``finetune`` wrote says itself of which model and sizes it is and how images
    are prepared for it: ``timm:checkpoint=encoder.safetensors`` is enough.

    Args:
        model: name in timm, with or without a tag: ``vit_tiny_patch16_224``, ``resnet18.a1_in1k``. None is the model
            that the checkpoint names.
        pretrained: take the published weights, from the local cache of the hub or by download.
        checkpoint: local weights of this very model: ``.safetensors``, or a state dict that ``torch.save`` wrote, also
            nested as training scripts do. A classifier in it is ignored; anything that needs unpickling is refused.
            Where ``pool`` moves a transformer's last norm behind the pooling, it takes the weights of the one before.
        pool: timm's ``global_pool``; None is the model's own.
        size: height and width in pixels of the views; None is the model's own.
        seed: of the random weights.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the hardware has it natively.

    Raises:
        ConfigError: if there is no such model, or an option is wrong.
        DataError: if the weights cannot be had or do not fit.

    Reference:
        Wightman, PyTorch Image Models (https://doi.org/10.5281/zenodo.4414861); each model's paper is named in its
        module there.
    """

    files: ClassVar[tuple[str, ...]] = ("checkpoint",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"model": "test_vit"}, {"model": "test_resnet", "size": 64})

    def __init__(
        self,
        model: str | None = None,
        pretrained: bool = False,
        checkpoint: str | None = None,
        pool: str | None = None,
        size: int | None = None,
        seed: int = 0,
        precision: str = "auto",
    ) -> None:
        if problems := _problems(pretrained, checkpoint, size, seed, precision):
            raise ConfigError(problems)
        header = _header(model, checkpoint)
        if header is not None:
            model = model or header.model
        elif model is None:
            raise ConfigError("timm: no model is named", hint="model=NAME, or a checkpoint that fusionkit trained")
        self._config = _pretrained_config(model)
        self._sizes = header.sizes if header else {}
        self._header = header
        self.name = model
        self.pretrained = pretrained
        self.checkpoint = checkpoint
        self.pool = header.pool if header and pool is None else pool
        self.size = size or (header.size if header else None)
        self.seed = seed
        self._asked_precision = precision
        self._model: Any = self._build()
        self._device, self._precision = "cpu", "float32"
        self._weights = self._published() if pretrained else ""

        from timm.data import resolve_model_data_config

        data = resolve_model_data_config(self._model)
        self.mean, self.std = (header.mean, header.std) if header else (tuple(data["mean"]), tuple(data["std"]))
        named = header.interpolation if header else data["interpolation"]
        self.interpolation = INTERPOLATIONS.get(named, "linear")
        side = self.size or self._sizes.get("img_size")
        self._input_size = (side, side) if side else tuple(data["input_size"][1:])
        self._dim, self._gflop = self._traced()

    @property
    def dim(self) -> int:
        """D, the width of what the model hands to its classifier."""
        return self._dim

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels: ``size``, else that of the model's data config."""
        return self._input_size

    def precision(self, device: str) -> str:
        """The precision asked for; of ``auto``, bfloat16 on processors and graphics cards that compute in it."""
        if self._asked_precision != "auto":
            return self._asked_precision
        from fusionkit.contracts.backbone import has_native_bfloat16

        return "bfloat16" if has_native_bfloat16(device) else "float32"

    def prepare(self, device: str, precision: str) -> None:
        """Move the model; weights rounded to bfloat16 are built anew before they serve float32 again."""
        import torch

        if self._precision == "bfloat16" and precision == "float32":
            self._model = self._build()
        dtype = getattr(torch, precision)
        self._model.to(device, dtype).to(memory_format=torch.channels_last)
        self._device, self._precision = device, precision
        self.__dict__.pop("_scale_and_shift", None)

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``.

        Returns:
            (B, D) float32.
        """
        import torch

        with torch.inference_mode():
            return self._model(self._normalised(views)).float().cpu().numpy()

    def tokens(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch as the features before pooling, row by row of the image, without class and register tokens.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``.

        Returns:
            (B, K, D) float32.

        Raises:
            PluginError: if the model's features are not tokens of the embedding's width.
        """
        import torch

        with torch.inference_mode():
            features = self._model.forward_features(self._normalised(views))
            if not isinstance(features, torch.Tensor):
                raise PluginError(
                    f"timm: model {self.name} has no tokens: its features are a {type(features).__name__}"
                )
            tokens = _as_tokens(features, self._model)
            if tokens.ndim != 3 or tokens.shape[-1] != self._dim:
                raise PluginError(
                    f"timm: model {self.name} has no tokens of width D={self._dim}: its features are "
                    f"{tuple(features.shape)}",
                    hint="use its pooled embedding, or another model",
                )
            return tokens.float().cpu().numpy()

    def cost(self) -> tuple[int, float]:
        """(parameters, GFLOP of one view); a multiplication and an addition are two.

        Counted by ``torch.utils.flop_counter``: matrix products and convolutions, those of attention included.
        """
        return sum(parameter.numel() for parameter in self._model.parameters()), self._gflop

    def weights(self) -> str:
        """Model, tag and hash of the published weights; empty where they are random or of a checkpoint."""
        return self._weights

    def trained_on(self) -> tuple[tuple[str, str], ...]:
        """As the file says that ``fusionkit finetune`` wrote; published weights do not say it in these terms."""
        return self._header.trained_on if self._header else ()

    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        """The model anew, to be trained."""
        model = self._build(seed=seed, drop_path=drop_path)
        return model.requires_grad_(requires_grad=True)

    def export(self, network: nn.Module, about: dict[str, Any]) -> bytes:
        """A ``.safetensors`` file for the option ``checkpoint``."""
        from safetensors.torch import save

        from fusionkit_backbones.encoder_header import EncoderHeader

        words = {ours: theirs for theirs, ours in INTERPOLATIONS.items()}
        side = self._input_size[0]
        fixed = "img_size" in self._sizes or self._config.fixed_input_size
        header = EncoderHeader(
            model=self.name,
            sizes={**self._sizes, "img_size": side} if fixed else self._sizes,
            mean=self.mean,
            std=self.std,
            interpolation=words[self.interpolation],
            pool=self.pool,
            size=None if fixed else side,
            about=about,
        )
        state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        return save(state, metadata=header.dump())

    # -- inside ----------------------------------------------------------------------------------------------------

    def _build(self, seed: int | None = None, drop_path: float = 0.0) -> nn.Module:
        """The model in float32 on the processor, with its weights, ready for inference."""
        import timm
        import torch

        from fusionkit_backbones.pretrained import LOCAL_WEIGHTS, weight_source

        options: dict[str, Any] = {"num_classes": 0, **self._sizes}
        if self.pool is not None:
            options["global_pool"] = self.pool
        if self.size and self._config.fixed_input_size:
            options["img_size"] = self.size
        if drop_path:
            options["drop_path_rate"] = drop_path
        if self.pretrained:
            options |= {"pretrained": True, "pretrained_cfg_overlay": weight_source(self.name, self._config)}
        try:
            with torch.random.fork_rng(devices=[]):
                # Leaves the generators of other devices alone.
                torch.default_generator.manual_seed(self.seed if seed is None else seed)
                model = timm.create_model(self.name, **options)
        except OSError as error:
            raise DataError(
                f"timm: the pretrained weights of {self.name} cannot be had: {_first_line(error)}", hint=LOCAL_WEIGHTS
            ) from error
        except Exception as error:
            given = f"pretrained={self.pretrained}, pool={self.pool!r}, size={self.size!r}"
            given += f", drop_path={drop_path!r}" if drop_path else ""
            raise ConfigError(f"timm: model {self.name} cannot be built with {given}: {_first_line(error)}") from error
        if self.checkpoint is not None:
            self._load(model, self.checkpoint)
        return model.eval().requires_grad_(requires_grad=False)

    def _published(self) -> str:
        from fusionkit_backbones.pretrained import state_digest

        return f"{self._config.architecture}.{self._config.tag}, sha256 {state_digest(self._model)}"

    def _load(self, model: nn.Module, path: str) -> None:
        """Load a checkpoint into the model; a family with files of its own form overrides it."""
        from fusionkit_backbones.checkpoint import load_checkpoint

        named = self._config.classifier or ()  # one module, or several in distilled models
        load_checkpoint(model, path, (named,) if isinstance(named, str) else tuple(named))

    def _traced(self) -> tuple[int, float]:
        """(D, GFLOP) of one view; refuses a size that the model cannot take."""
        from fusionkit_backbones.cost import trace

        height, width = self._input_size
        try:
            shape, gflop = trace(self._model, self._input_size)
        except Exception as error:
            raise ConfigError(
                f"timm: model {self.name} cannot embed views of {height} x {width} pixels: {_first_line(error)}"
            ) from error
        if len(shape) != 2:
            raise ConfigError(f"timm: model {self.name} with pool={self.pool!r} gives {shape}, not (1, D)")
        return shape[1], gflop

    @cached_property
    def _scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(v / 255 - mean) / std as v * scale + shift: (1, 3, H, W) float32, channels last as the views are."""
        import torch

        mean, std = torch.tensor(self.mean).double(), torch.tensor(self.std).double()
        whole = (1, *self._input_size, 3)  # broadcasting three values along the last axis is slower
        scale, shift = (
            values.float().expand(whole).contiguous().permute(0, 3, 1, 2).to(self._device)
            for values in (1 / (255 * std), -mean / std)
        )
        return scale, shift

    def _normalised(self, views: np.ndarray) -> Tensor:
        """(B, 3, H, W) in the model's precision, channels last in memory."""
        import torch

        pixels = torch.from_numpy(np.require(views, requirements=["C", "W"])).to(self._device).permute(0, 3, 1, 2)
        out = torch.empty_like(pixels, dtype=getattr(torch, self._precision))
        scale, shift = self._scale_and_shift
        step = 1 if self._device == "cpu" else len(pixels)  # one view at a time stays in the processor's cache
        for start in range(0, len(pixels), step or 1):
            rows = slice(start, start + step)
            out[rows] = torch.addcmul(shift, pixels[rows].float(), scale)
        return out


def _as_tokens(features: Tensor, model: nn.Module) -> Tensor:
    """(B, K, D), row by row of the image, from a sequence with prefix tokens or from a map of either layout."""
    if features.ndim == 3:
        return features[:, _prefix_tokens(model) :]
    if features.ndim == 4:
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)
    return features


def _prefix_tokens(model: nn.Module) -> int:
    """How many class and register tokens stand before those of patches; some families do not say, but have one."""
    class_token = any(name.startswith("cls_token") for name, _ in model.named_parameters(recurse=False))
    return int(getattr(model, "num_prefix_tokens", class_token))


def _header(model: str | None, checkpoint: str | None) -> EncoderHeader | None:
    """What the checkpoint says of itself, where a training run of fusionkit wrote it.

    Raises:
        ConfigError: if it is of another model than the one named.
    """
    from fusionkit_backbones.encoder_header import read_header

    header = read_header(checkpoint) if checkpoint is not None else None
    if header is not None and model is not None and model != header.model:
        raise ConfigError(f"timm: checkpoint {checkpoint} is of {header.model}, not of {model}", hint="leave model out")
    return header


def _pretrained_config(name: str) -> Any:
    """The published config of a model's weights.

    Raises:
        ConfigError: if there is no such model, with the nearest names, or no such tag, with all tags.
    """
    import timm

    if not isinstance(name, str) or not timm.is_model(name):
        near = difflib.get_close_matches(str(name), timm.list_models(), n=5, cutoff=0.5)
        raise ConfigError(
            f"timm: no model is called {name!r}",
            hint=f"nearest: {', '.join(near)}" if near else "see timm.list_models()",
        )
    try:
        return timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    except RuntimeError as error:
        tags = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise ConfigError(f"timm: {_first_line(error)}", hint=f"there are: {', '.join(tags) or 'none'}") from error


def _problems(pretrained: Any, checkpoint: Any, size: Any, seed: Any, precision: Any) -> list[str]:
    def whole(value: Any, least: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    found = []
    if not isinstance(pretrained, bool):
        found.append(f"timm: pretrained={pretrained!r} is neither true nor false")
    if checkpoint is not None and pretrained is True:
        found.append("timm: pretrained=true and checkpoint are two sources of weights: give one of them")
    if size is not None and not whole(size, 1):
        found.append(f"timm: size={size!r} is not a whole number of at least 1")
    if not whole(seed, 0):
        found.append(f"timm: seed={seed!r} is not a whole number of at least 0")
    if precision not in PRECISIONS:
        found.append(f"timm: precision={precision!r} is none of {', '.join(PRECISIONS)}")
    return found


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
