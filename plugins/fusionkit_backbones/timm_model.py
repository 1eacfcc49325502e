"""Any model of timm as a backbone, with its published weights, a local checkpoint or random weights."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionkit.contracts import Backbone
from fusionkit.contracts.backbone import Interpolation, has_native_bfloat16
from fusionkit.contracts.flops import gflops
from fusionkit.contracts.option_types import Count, Natural, Positive, Probability
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of
from fusionkit.registry import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fusionkit_backbones.checkpoint import EncoderHeader

Weights = Literal["ema", "raw"]
Mean = tuple[Probability, Probability, Probability]
Std = tuple[Positive, Positive, Positive]
Precision = Literal["auto", "float32", "bfloat16"]
# timm's names of interpolations, and the contract's.
INTERPOLATIONS: dict[str, Interpolation] = {
    "nearest": "nearest",
    "bilinear": "linear",
    "bicubic": "cubic",
    "box": "area",
    "lanczos": "lanczos",
}
LOCAL_WEIGHTS = "give checkpoint=FILE with local weights"
PROBE_SECONDS = 5.0
_TRACED: dict[tuple[object, ...], tuple[int, float]] = {}  # width and GFLOP by architecture


class TimmModel(Backbone):
    """Any image model of timm by its name: vision transformers, conv nets, hybrids.

    The embedding is the input of the model's classifier, which is left out. Input size, mean, standard deviation and
    interpolation are those of the model's own data config. Its centre crop is not applied, since a view is already a
    crop. With neither ``pretrained`` nor ``checkpoint`` the weights are random: the control of an untrained network of
    that shape. Its rows are marked in every table.

    A file of ``fusionkit pretrain`` or ``finetune`` names its model, its sizes and the preparation of images:
    ``timm:checkpoint=encoder.safetensors`` is enough. Any other file does not say how images were prepared in its
    training: compare ``mean``, ``std`` and ``interpolation`` with its authors' code. Many vision transformers of timm
    have a mean and standard deviation of 0.5; most training code has ImageNet's.

    Args:
        model: name in timm, with or without a tag: ``vit_tiny_patch16_224``, ``resnet18.a1_in1k``. Not given: the model
            that the checkpoint names.
        pretrained: load the published weights, from the local cache of the hub or by download.
        checkpoint: local weights of this model: ``.safetensors``, or a state dict of ``torch.save``, also nested and
            with a prefix of names (``module.``, ``backbone.``, ...) as in training scripts. A classifier and the
            decoder of a masked autoencoder are ignored; anything that needs unpickling is refused. Where ``pool``
            moves a transformer's last norm behind the pooling, that norm takes the weights of the one before.
        weights: of a checkpoint with both, ``ema``: the exponential moving average of the weights; ``raw``: those of
            the last step. Not given: the average where there is one, as in timm.
        pool: timm's ``global_pool``. Not given: the model's own.
        size: height and width in pixels of the views. Not given: the model's own. If given, position embeddings of a
            checkpoint for another size are resampled as in timm; otherwise such a checkpoint is refused.
        mean: mean of each RGB channel, of values scaled to 0..1, such as ``[0.485,0.456,0.406]``. Not given: the
            checkpoint's where fusionkit trained it, else the model's own.
        std: standard deviation of each RGB channel, such as ``[0.229,0.224,0.225]``. Not given: as for ``mean``.
        interpolation: of resizing views to ``size``. Not given: as for ``mean``.
        seed: of the random weights.
        precision: ``auto``: bfloat16 where the hardware has it natively, else float32.

    Raises:
        ConfigError: if there is no such model, or options exclude each other.
        DataError: if the weights cannot be loaded or do not fit.

    Reference:
        Wightman, PyTorch Image Models (https://doi.org/10.5281/zenodo.4414861); each model's paper is named in its
        module there.
    """

    files = ("checkpoint",)
    examples = ({"model": "test_vit"}, {"model": "test_resnet", "size": 64})

    def __init__(
        self,
        model: str | None = None,
        pretrained: bool = False,
        checkpoint: str | None = None,
        weights: Weights | None = None,
        pool: str | None = None,
        size: Count | None = None,
        mean: Mean | None = None,
        std: Std | None = None,
        interpolation: Interpolation | None = None,
        seed: Natural = 0,
        precision: Precision = "auto",
    ) -> None:
        if pretrained and checkpoint is not None:
            raise ConfigError("timm: options pretrained = true and checkpoint exclude each other")
        if weights is not None and checkpoint is None:
            raise ConfigError(f"timm: option weights = {weights!r} has no effect without checkpoint")
        header = _header(model, checkpoint)
        if header is not None:
            model = model or header.model
        elif model is None:
            raise ConfigError(
                "timm: option model is missing", hint="model=NAME, or a checkpoint that fusionkit trained"
            )
        self._config = _pretrained_config(model)
        self._sizes = header.sizes if header else {}
        self._header = header
        self.name = model
        self.pretrained = pretrained
        self.checkpoint = checkpoint
        self.pool = header.pool if header and pool is None else pool
        self.size = size or (header.size if header else None)
        self._given_weights, self._resample = weights, size is not None
        self._notes: tuple[str, ...] = ()
        self._is_masked_autoencoder = False
        self.random_weights = not pretrained and checkpoint is None
        self.seed = seed
        self._asked_precision = precision
        self._model: Any = self._build()
        self._device, self._precision = "cpu", "float32"
        self._weights = self._published() if pretrained else ""

        from timm.data import resolve_model_data_config

        data = resolve_model_data_config(self._model)
        own_mean, own_std = (header.mean, header.std) if header else (tuple(data["mean"]), tuple(data["std"]))
        named = header.interpolation if header else data["interpolation"]
        self.mean, self.std = tuple(mean or own_mean), tuple(std or own_std)
        self.interpolation = interpolation or INTERPOLATIONS.get(named, "linear")
        self._has_own_mean = header is None and mean is None
        side = self.size or self._sizes.get("img_size")
        self._input_size = (side, side) if side else tuple(data["input_size"][1:])
        self._dim, self._gflop = self._traced()

    @property
    def dim(self) -> int:
        """D, the width of the input of the model's classifier."""
        return self._dim

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels: ``size``, else that of the model's data config."""
        return self._input_size

    def precision(self, device: str) -> str:
        """Return the given precision; for ``auto``, bfloat16 on CPUs and GPUs that have it natively."""
        if self._asked_precision != "auto":
            return self._asked_precision
        return "bfloat16" if has_native_bfloat16(device) else "float32"

    def prepare(self, device: str, precision: str) -> None:
        """Move the model; weights rounded to bfloat16 are rebuilt before they are used in float32 again."""
        import torch

        if self._precision == "bfloat16" and precision == "float32":
            self._model = self._build()
        dtype = getattr(torch, precision)
        self._model.to(device, dtype).to(memory_format=torch.channels_last)
        self._device, self._precision = device, precision
        self.__dict__.pop("_scale_and_shift", None)
        self.__dict__.pop("_copy_stream", None)

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``.

        Returns:
            (B, D) float32.
        """
        import torch

        with torch.inference_mode():
            return self._model(self._normalised(self._on_device(views))).float().cpu().numpy()

    def tokens(self, views: np.ndarray) -> np.ndarray:
        """Return the features before pooling, row by row of the image, without class and register tokens.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``.

        Returns:
            (B, K, D) float32.

        Raises:
            PluginError: if the model's features are not tokens of the embedding's width.
        """
        import torch

        with torch.inference_mode():
            return self._read_tokens(self._model, self._normalised(self._on_device(views))).float().cpu().numpy()

    @cached_property
    def token_grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the tokens, from the features of a black view; None if they form no grid."""
        import torch

        view = np.zeros((1, *self._input_size, 3), np.uint8)
        with torch.inference_mode():
            features = self._model.forward_features(self._normalised(self._on_device(view)))
        return _grid(features, self._model, self._dim) if isinstance(features, torch.Tensor) else None

    def launch(self, views: np.ndarray, *, tokens: bool) -> Callable[[], np.ndarray]:
        """Begin to embed a batch. On a GPU it is copied on a stream of its own, while the batch before is computed.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``.
            tokens: compute what :meth:`tokens` does.

        Returns:
            A function that waits for the values: (B, D) float32, or (B, K, D) float32.
        """
        import torch

        own, here = (cls.tokens if tokens else cls.embed for cls in (type(self), TimmModel))
        if own is not here or not self._device.startswith("cuda"):  # a subclass may compute something else
            return super().launch(views, tokens=tokens)
        computing = torch.cuda.current_stream(self._device)
        with torch.inference_mode():
            with torch.cuda.stream(self._copy_stream):
                pixels = self._on_device(views)
            computing.wait_stream(self._copy_stream)
            pixels.record_stream(computing)  # its memory is not used again before the model has read it
            inputs = self._normalised(pixels)
            values = (self._read_tokens(self._model, inputs) if tokens else self._model(inputs)).float()
            found = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            found.copy_(values, non_blocking=True)
            done = computing.record_event()

        def wait() -> np.ndarray:
            done.synchronize()
            return found.numpy()

        return wait

    def _read_tokens(self, model: Any, pixels: Tensor) -> Tensor:
        """(B, 3, H, W), normalised, to (B, K, D) tokens."""
        import torch

        features = model.forward_features(pixels)
        if not isinstance(features, torch.Tensor):
            raise PluginError(
                f"timm: model {self.name} has no tokens: its features are of type {type(features).__name__}"
            )
        tokens = _as_tokens(features, model)
        if tokens.ndim != 3 or tokens.shape[-1] != self._dim:
            raise PluginError(
                f"timm: model {self.name} has no tokens of width D={self._dim}: its features are "
                f"{tuple(features.shape)}",
                hint="use its pooled embedding, or another model",
            )
        return tokens

    def cost(self) -> tuple[int, float]:
        """Return (parameters, GFLOP of one view), counted by :func:`fusionkit.contracts.flops.gflops`."""
        return sum(parameter.numel() for parameter in self._model.parameters()), self._gflop

    def weights(self) -> str:
        """Return model, tag and hash of the published weights; empty for random weights or a checkpoint."""
        return self._weights

    def notes(self) -> tuple[str, ...]:
        """Return how the file was loaded, and a hint if its masked autoencoder was probably normalised otherwise."""
        from timm.data.constants import IMAGENET_DEFAULT_MEAN

        if not (self.checkpoint and self._is_masked_autoencoder and self._has_own_mean):
            return self._notes
        if self.mean == IMAGENET_DEFAULT_MEAN:
            return self._notes
        hint = (
            f"{Path(self.checkpoint).name} looks like a masked autoencoder: they are usually trained with ImageNet's "
            f"mean and std, but {self.name} has mean {list(self.mean)} and std {list(self.std)}; set "
            "mean=[0.485,0.456,0.406],std=[0.229,0.224,0.225], or confirm the model's own by the same options"
        )
        return (*self._notes, hint)

    def trained_on(self) -> tuple[tuple[str, str], ...]:
        """Return the labelled data that a file of ``fusionkit finetune`` names; published weights name none."""
        return self._header.trained_on if self._header else ()

    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        """Build the model again, to be trained."""
        model = self._build(seed=seed, drop_path=drop_path)
        return model.requires_grad_(requires_grad=True)

    def export(self, network: nn.Module, about: dict[str, Any]) -> bytes:
        """Return a ``.safetensors`` file for the option ``checkpoint``."""
        from safetensors.torch import save

        from fusionkit_backbones.checkpoint import EncoderHeader

        names = {ours: theirs for theirs, ours in INTERPOLATIONS.items()}
        side = self._input_size[0]
        fixed = "img_size" in self._sizes or self._config.fixed_input_size
        header = EncoderHeader(
            model=self.name,
            sizes={**self._sizes, "img_size": side} if fixed else self._sizes,
            mean=self.mean,
            std=self.std,
            interpolation=names[self.interpolation],
            pool=self.pool,
            size=None if fixed else side,
            about=about,
        )
        state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        return save(state, metadata=header.dump())

    def as_network(self, *, tokens: bool) -> nn.Module:
        """Build the model again in float32, behind the normalisation of its input."""
        from fusionkit_backbones.networks import Normalised

        read = {"read": self._read_tokens} if tokens else {}
        return Normalised(self._build(), self.mean, self.std, **read)

    def _build(self, seed: int | None = None, drop_path: float = 0.0) -> nn.Module:
        """Build the model in float32 on the CPU, with its weights, ready for inference."""
        import timm
        import torch

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
            with torch.random.fork_rng(devices=[]), _unset_weights() as unset:
                # The generators of other devices keep their state.
                torch.default_generator.manual_seed(self.seed if seed is None else seed)
                model = timm.create_model(self.name, **options)
        except OSError as error:
            raise DataError(
                f"timm: the pretrained weights of {self.name} cannot be loaded: {cause_of(error)}", hint=LOCAL_WEIGHTS
            ) from error
        except Exception as error:
            given = f"pretrained={self.pretrained}, pool={self.pool!r}, size={self.size!r}"
            given += f", drop_path={drop_path!r}" if drop_path else ""
            raise ConfigError(f"timm: model {self.name} cannot be built with {given}: {cause_of(error)}") from error
        if self.pretrained:
            self._check_published(model, unset)
        if self.checkpoint is not None:
            self._load(model, self.checkpoint)
        return model.eval().requires_grad_(requires_grad=False)

    def _published(self) -> str:
        return f"{self._config.architecture}.{self._config.tag}, sha256 {state_digest(self._model)}"

    def _check_published(self, model: nn.Module, unset: list[str]) -> None:
        """Mark the model as partly random if the published weights lack some of its own.

        Raises:
            DataError: if a value is not finite.
        """
        from fusionkit_backbones.checkpoint import check_finite, counted

        check_finite(model.state_dict(), f"timm: the pretrained weights of {self.name}")
        if unset:
            self.random_weights = True
            self._notes = (f"the published weights of {self.name} leave weights untrained: {counted(unset)}",)

    def _load(self, model: nn.Module, path: str) -> None:
        from fusionkit_backbones.checkpoint import load_checkpoint

        named = self._config.classifier or ()  # one module, or several in distilled models
        loaded = load_checkpoint(
            model,
            path,
            (named,) if isinstance(named, str) else tuple(named),
            weights=self._given_weights,
            resample=self._resample,
            encoder_of=self._encoder_of,
        )
        self._notes, self._is_masked_autoencoder = loaded.notes, loaded.is_masked_autoencoder

    def _encoder_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint to load; a subclass with files of another form overrides it."""
        return state

    def _traced(self) -> tuple[int, float]:
        """Return (D, GFLOP), counted once in a process for each architecture."""
        architecture = (self.name, self.pool, self._input_size, *sorted(self._sizes.items()))
        if architecture not in _TRACED:
            _TRACED[architecture] = self._trace()
        return _TRACED[architecture]

    def _trace(self) -> tuple[int, float]:
        """Pass a view through the model on the meta device, and return (D, GFLOP).

        Raises:
            ConfigError: if the model fails at this size, or its output is not one vector.
        """
        import torch

        height, width = self._input_size
        state = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        empty = {name: value.to("meta") for name, value in state.items()}
        view = torch.empty(1, 3, height, width, device="meta")
        outputs: list[Tensor] = []
        try:
            gflop = gflops(lambda: outputs.append(torch.func.functional_call(self._model, empty, (view,))))
        except Exception as error:
            raise ConfigError(
                f"timm: model {self.name} cannot embed views of {height} x {width} pixels: {cause_of(error)}"
            ) from error
        shape = tuple(outputs[0].shape)
        if len(shape) != 2:
            raise ConfigError(f"timm: model {self.name} with pool={self.pool!r} gives {shape}, not (1, D)")
        return shape[1], gflop

    @cached_property
    def _scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(v / 255 - mean) / std as v * scale + shift: (1, 3, H, W) float32, channels last as in the views."""
        import torch

        mean, std = torch.tensor(self.mean).double(), torch.tensor(self.std).double()
        whole = (1, *self._input_size, 3)  # broadcasting three values along the last axis is slower
        scale, shift = (
            values.float().expand(whole).contiguous().permute(0, 3, 1, 2).to(self._device)
            for values in (1 / (255 * std), -mean / std)
        )
        return scale, shift

    @cached_property
    def _copy_stream(self) -> Any:
        import torch

        return torch.cuda.Stream(self._device)

    def _on_device(self, views: np.ndarray) -> Tensor:
        """(B, 3, H, W) uint8, channels last in memory. From page-locked memory to a GPU, the copy goes on meanwhile."""
        import torch

        given = torch.from_numpy(np.require(views, requirements=["C", "W"]))
        return given.to(self._device, non_blocking=True).permute(0, 3, 1, 2)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in the model's precision, channels last in memory."""
        import torch

        out = torch.empty_like(pixels, dtype=getattr(torch, self._precision))
        scale, shift = self._scale_and_shift
        step = 1 if self._device == "cpu" else len(pixels)  # one view at a time stays in the cache of the CPU
        for start in range(0, len(pixels), step or 1):
            rows = slice(start, start + step)
            out[rows] = torch.addcmul(shift, pixels[rows].float(), scale)
        return out


@contextmanager
def _unset_weights() -> Iterator[list[str]]:
    """Collect the names of weights that timm leaves as they were initialised: it only logs them, as information."""
    found: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if names := re.match(r"Missing keys \((.+?)\)", record.getMessage()):
            found.extend(names[1].split(", "))
        return record.levelno >= shown

    logger = logging.getLogger("timm.models._builder")
    level, shown = logger.level, logger.getEffectiveLevel()
    logger.addFilter(collect)
    logger.setLevel(min(shown, logging.INFO))
    try:
        yield found
    finally:
        logger.setLevel(level)
        logger.removeFilter(collect)


def _as_tokens(features: Tensor, model: nn.Module) -> Tensor:
    """Return (B, K, D), row by row of the image, from a sequence with prefix tokens or a map of either layout."""
    if features.ndim == 3:
        return features[:, _prefix_tokens(model) :]
    if features.ndim == 4:
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)
    return features


def _grid(features: Tensor, model: nn.Module, width: int) -> tuple[int, int] | None:
    """Return (rows, columns) of the tokens in features (B, K, D), or in a map; None where they form no grid."""
    tokens = _as_tokens(features, model)
    if tokens.ndim != 3 or tokens.shape[-1] != width:
        return None
    if features.ndim == 4:
        grid = features.shape[1:3] if getattr(model, "output_fmt", "NCHW") == "NHWC" else features.shape[2:]
    else:
        grid = getattr(getattr(model, "patch_embed", None), "grid_size", None) or ()
    rows, columns = map(int, grid) if len(grid) == 2 else (0, 0)
    return (rows, columns) if rows * columns == tokens.shape[1] else None


def _prefix_tokens(model: nn.Module) -> int:
    """Count the class and register tokens before those of patches; some families have one without the attribute."""
    class_token = any(name.startswith("cls_token") for name, _ in model.named_parameters(recurse=False))
    return int(getattr(model, "num_prefix_tokens", class_token))


def _header(model: str | None, checkpoint: str | None) -> EncoderHeader | None:
    """Return the header of a checkpoint, if a training run of fusionkit wrote it.

    Raises:
        ConfigError: if it is of another model than the given one.
    """
    from fusionkit_backbones.checkpoint import read_header

    header = read_header(checkpoint) if checkpoint is not None else None
    if header is not None and model is not None and model != header.model:
        raise ConfigError(
            f"timm: checkpoint {checkpoint} is of model {header.model}, not {model}", hint="leave model out"
        )
    return header


def _pretrained_config(name: str) -> Any:
    """Return the published config of a model's weights.

    Raises:
        ConfigError: if there is no such model, with the nearest names, or no such tag, with all tags.
    """
    import timm

    if not isinstance(name, str) or not timm.is_model(name):
        raise ConfigError(
            f"timm: unknown model {name!r}{did_you_mean(name, timm.list_models())}", hint="see timm.list_models()"
        )
    try:
        return timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    except RuntimeError as error:
        tags = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise ConfigError(f"timm: {cause_of(error)}", hint=f"available tags: {', '.join(tags) or 'none'}") from error


def weight_source(name: str, config: Any) -> dict[str, Any]:
    """Return the changes to a model's pretrained config with which loading neither retries nor waits.

    Cached weights are read as a file: asking the hub for newer ones would cost half a minute of retries without a
    network, and might change results between two runs.

    Args:
        name: of the model, for messages.
        config: the model's ``timm.models.PretrainedCfg``.

    Raises:
        ConfigError: if no weights of this model were published.
        DataError: if the weights are not in the cache and the hub does not answer.
    """
    if not config.has_weights:
        raise ConfigError(f"timm: no pretrained weights were published for {name}", hint=LOCAL_WEIGHTS)
    if not config.hf_hub_id:
        return {}  # a plain URL, which fails at once
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = config.hf_hub_id.partition("@")
    filename = (config.hf_hub_filename or "pytorch_model.bin").replace("pytorch_model.bin", "model.safetensors")
    if filename.endswith(".safetensors"):
        cached = try_to_load_from_cache(repository, filename, revision=revision or None)
        if isinstance(cached, str):
            own_format = bool(config.hf_hub_filename) and config.custom_load == "hf"
            return {"file": cached, "custom_load": own_format}
    if reason := _hub_failure():
        raise DataError(
            f"timm: the pretrained weights of {name} are not in the local cache, and the hub does not answer: {reason}",
            hint=LOCAL_WEIGHTS,
        )
    return {}


def _hub_failure() -> str:
    """Return why the hub does not answer one request; empty if it does."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception as error:  # noqa: BLE001 - each HTTP client of the hub's library raises its own errors
        return cause_of(error)
    return ""


def state_digest(model: nn.Module) -> str:
    """Return a hash of a model's weights (16 hex digits): a publisher may replace weights under the same name."""
    import torch

    state = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        state.update(f"{name} {tuple(values.shape)}".encode())
        state.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()[:16]
