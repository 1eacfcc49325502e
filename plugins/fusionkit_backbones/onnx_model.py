"""Any ONNX model of faces as a backbone, from its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Backbone
from fusionkit.contracts.backbone import Interpolation
from fusionkit.contracts.option_types import Count, Positive, Range
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of
from fusionkit.registry import did_you_mean
from fusionkit_backbones.onnx_graph import Graph, files_of, read_graph

Side = Annotated[int, Range(least=1, most=4096)]
Three = tuple[float, float, float]
Spread = tuple[Positive, Positive, Positive]
_TYPES = {"FLOAT": np.float32, "FLOAT16": np.float16, "DOUBLE": np.float64, "UINT8": np.uint8}
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_MOST_DIMS = 2**20
_COLOURS = 3
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow and OpenCV weigh them


class OnnxModel(Backbone):
    """Any ONNX model of faces, by its file.

    The file does not say how images were prepared in training: ``size``, ``mean``, ``std``, ``scale`` and ``channels``
    must be those of its authors' code. The model gets ``(pixel / scale - mean) / std``. Models of ArcFace's geometry
    take aligned faces of 112 x 112 px, RGB, as ``(pixel - 127.5) / 127.5``: ``mean=[0.5,0.5,0.5],std=[0.5,0.5,0.5]``.
    ``fusionkit align`` writes such faces, by the same five points. A model of one channel, such as FER+ in the ONNX
    model zoo (``scale=1``), gets grey images: .299 R + .587 G + .114 B, rounded.

    An output (B, D) is the embedding; (B, D, 1, 1) likewise. Tokens (B, K, D) and maps (B, D, h, w) are averaged. A
    classifier's output is its logits: the embedding before it is a tensor inside, which ``output`` can name.

    Args:
        model: the file. Files of external weights must be in its folder.
        output: name of an output, or of any tensor inside. Not given: the only output.
        input: name of the input. Not given: the only one.
        layout: order of the input's dimensions. Not given: by the dimension that is 3, else 1.
        size: height and width in px of the input, one number or both. Not given: those in the file.
        mean: mean of each channel, of pixels divided by ``scale``, in the model's order of channels.
        std: standard deviation of each channel, likewise. A model of one channel needs three equal numbers.
        scale: divisor of pixels before ``mean`` and ``std``: 255, or 1 for a model that takes 0..255.
        channels: order of the model's channels.
        interpolation: of resizing views to ``size``.
        providers: execution providers of ONNX Runtime, by falling priority. Not given: CUDA on a GPU, else the CPU.

    Raises:
        ConfigError: if the file does not exist, or an option does not fit it.
        DataError: if it is not an ONNX model, needs files, inputs or operators that are not there, or has huge tensors.
        PluginError: if ONNX Runtime is not installed, or lacks a provider.

    Reference:
        ONNX: https://onnx.ai; ONNX Runtime: https://onnxruntime.ai. ArcFace: Deng et al., CVPR 2019
        (https://arxiv.org/abs/1801.07698), preparation as in insightface's ``model_zoo/arcface_onnx.py``.
    """

    files: ClassVar[tuple[str, ...]] = ("model",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # a file is needed to build it

    def __init__(
        self,
        model: str,
        output: str | None = None,
        input: str | None = None,  # noqa: A002 - the name of the option
        layout: Literal["NCHW", "NHWC"] | None = None,
        size: Side | tuple[Side, Side] | None = None,
        mean: Three = (0.0, 0.0, 0.0),
        std: Spread = (1.0, 1.0, 1.0),
        scale: Positive = 255.0,
        channels: Literal["rgb", "bgr"] = "rgb",
        interpolation: Interpolation = "linear",
        providers: list[str] | None = None,
    ) -> None:
        self.model, self.interpolation = model, interpolation
        self._order, self._providers = channels, providers
        graph = read_graph(model, input, output)
        self._check_rank(graph)
        self._is_nchw = _layout(graph, layout) == "NCHW"
        self._channels = graph.shape[1 if self._is_nchw else 3] or _COLOURS
        if self._channels == 1:
            self._check_grey(mean, std)
        self._batch: Count | None = graph.shape[0]
        self._input_size = self._size(graph, size)
        self._type = self._input_type(graph, mean, std, scale)
        self._input, self._output = graph.input, graph.output
        model_file = graph.model
        self._writer = " ".join(filter(None, [model_file.producer_name, model_file.producer_version]))
        # (pixel / scale - mean) / std as pixel * gain + shift
        spread = np.asarray(std, np.float64)
        self._gain = (1 / (scale * spread)).astype(np.float32)
        self._shift = (-np.asarray(mean, np.float64) / spread).astype(np.float32)
        dims = graph.dims(self._whole())  # raises before a huge tensor is made
        self._session = self._open(graph.model.SerializeToString(), "cpu")
        self._cost = self._counted(graph, dims)
        self._dim = self._probed()
        self.mean = tuple(value * scale / 255 for value in mean)
        self.std = tuple(value * scale / 255 for value in std)

    @classmethod
    def files_of(cls, option: str, options: Mapping[str, Any]) -> list[str]:
        """Return the model and its files of external weights; errors are those of the class."""
        return files_of(options[option])

    @property
    def dim(self) -> int:
        """D, the width of the output."""
        return self._dim

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in px: those in the file, else ``size``."""
        return self._input_size

    def prepare(self, device: str, precision: str) -> None:
        """Open the model on a device, unless ``providers`` are given."""
        if not self._providers and device != "cpu":
            graph = read_graph(self.model, self._input, self._output)
            self._session = self._open(graph.model.SerializeToString(), device)

    def weights(self) -> str:
        """Return the name of the file and the program that wrote it."""
        return Path(self.model).name + (f", written by {self._writer}" if self._writer else "")

    def cost(self) -> tuple[int, float]:
        """Return (values of the weights, GFLOP of one view: matrix products and convolutions)."""
        return self._cost

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch; a model of fixed batch size gets its size, filled up with zeros."""
        step = self._batch or max(len(views), 1)
        found = [self._run(views[start : start + step]) for start in range(0, len(views), step)]
        return np.concatenate(found) if found else np.empty((0, self._dim), np.float32)

    def _run(self, views: np.ndarray) -> np.ndarray:
        inputs = self._prepared(views)
        if self._batch and len(views) < self._batch:
            rest = np.zeros((self._batch - len(views), *inputs.shape[1:]), inputs.dtype)
            inputs = np.concatenate([inputs, rest])
        try:
            (values,) = self._session.run(None, {self._input: inputs})
        except Exception as error:
            raise DataError(f"{self.model} cannot embed {inputs.shape}: {_line(error)}") from error
        if not isinstance(values, np.ndarray) or values.ndim not in (2, 3, 4) or len(values) != len(inputs):
            shape = getattr(values, "shape", type(values).__name__)
            raise DataError(
                f"{self.model}: output {self._output!r} has shape {shape} for {inputs.shape}",
                hint="an embedding is (B, D), tokens (B, K, D), maps (B, D, h, w); output=NAME chooses another tensor",
            )
        return self._pooled(values)[: len(views)]

    def _prepared(self, views: np.ndarray) -> np.ndarray:
        """Return the views as the model takes them."""
        pixels = views[..., ::-1] if self._order == "bgr" else views
        if self._channels == 1:
            pixels = np.rint(views @ _GREY)[..., None].astype(np.uint8)
        if self._type is not np.uint8:
            pixels = (pixels.astype(np.float32) * self._gain + self._shift)[..., : self._channels].astype(self._type)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if self._is_nchw else pixels)

    def _pooled(self, values: np.ndarray) -> np.ndarray:
        """Return (B, D) float32 of an output of rank 2, 3 or 4."""
        if values.ndim == 4 and not self._is_nchw and max(values.shape[1:3]) > 1:
            raise DataError(
                f"{self.model}: output {self._output!r} has shape {values.shape}, of which the channels are "
                "unknown in a model of layout NHWC",
                hint="choose an output (B, D)",
            )
        if values.ndim == 4:
            values = values.mean((2, 3), dtype=np.float32) if self._is_nchw else values[:, 0, 0]
        elif values.ndim == 3:
            values = values.mean(1, dtype=np.float32)
        return values.astype(np.float32)

    def _probed(self) -> int:
        """Embed two grey views, and return D.

        Raises:
            DataError: if the output is no embedding, or not finite.
        """
        found = self.embed(np.full((2, *self._input_size, 3), 128, np.uint8))
        if not np.isfinite(found).all():
            raise DataError(f"{self.model}: output {self._output!r} of a grey view is not finite")
        if not 0 < found.shape[1] <= _MOST_DIMS:
            raise DataError(f"{self.model}: output {self._output!r} has {found.shape[1]:,} values per view")
        return int(found.shape[1])

    def _counted(self, graph: Graph, dims: dict[str, tuple[int, ...]]) -> tuple[int, float]:
        """Return the cost of one view; shapes that cannot be inferred are those of a run."""
        batch = self._batch or 1
        if unknown := graph.unknown(dims):
            inputs = self._prepared(np.full((batch, *self._input_size, 3), 128, np.uint8))
            try:
                shown = self._open(graph.showing(unknown), "cpu").run(None, {self._input: inputs})
            except Exception as error:
                raise DataError(f"{self.model} cannot embed {inputs.shape}: {_line(error)}") from error
            dims = {**dims, **{name: tuple(values.shape) for name, values in zip(unknown, shown, strict=True)}}
        weights, gflop = graph.cost(dims)
        return weights, gflop / batch

    def _whole(self) -> dict[int, int]:
        """Return the dimensions of an input of one view, or of the fixed batch, by index."""
        rows, columns = (2, 3) if self._is_nchw else (1, 2)
        channel = 1 if self._is_nchw else 3
        return {0: self._batch or 1, channel: self._channels, rows: self._input_size[0], columns: self._input_size[1]}

    def _open(self, content: bytes, device: str) -> Any:
        """Return a session of one thread, so that results do not depend on the load of the machine."""
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised
        try:
            return runtime.InferenceSession(content, options, providers=self._chosen_providers(runtime, device))
        except (ConfigError, PluginError):
            raise
        except Exception as error:
            raise DataError(f"{self.model} cannot be opened by ONNX Runtime: {_line(error)}") from error

    def _chosen_providers(self, runtime: Any, device: str) -> list[Any]:
        available = runtime.get_available_providers()
        if self._providers:
            for name in self._providers:
                if name not in available:
                    near = did_you_mean(name, available)
                    raise ConfigError(
                        f"onnx: ONNX Runtime has no provider {name!r}{near}", hint=f"available: {', '.join(available)}"
                    )
            return self._providers
        if not device.startswith("cuda"):
            return [_CPU]
        if _CUDA not in available:
            raise PluginError(
                "onnx: this ONNX Runtime cannot use a GPU",
                hint=f'pip install onnxruntime-gpu, or option providers=["{_CPU}"]',
            )
        index = int(device.partition(":")[2] or 0)
        return [(_CUDA, {"device_id": index, "use_tf32": 0}), _CPU]

    def _check_rank(self, graph: Graph) -> None:
        if len(graph.shape) != 4:
            raise DataError(
                f"{self.model}: input {graph.input!r} has rank {len(graph.shape)}, not 4",
                hint="images are (B, 3, H, W) or (B, H, W, 3)",
            )

    def _check_grey(self, mean: Three, std: Spread) -> None:
        if self._order != "rgb":
            raise ConfigError(f"onnx: channels = {self._order!r} does not fit {self.model}, which takes grey images")
        for name, values in (("mean", mean), ("std", std)):
            if len(set(values)) > 1:
                hint = f"for example {name}=[{values[0]:g},{values[0]:g},{values[0]:g}]"
                raise ConfigError(
                    f"onnx: {name} = {list(values)} must be three equal numbers: {self.model} takes grey images",
                    hint=hint,
                )

    def _size(self, graph: Graph, size: int | tuple[int, int] | None) -> tuple[int, int]:
        declared = graph.shape[2:] if self._is_nchw else graph.shape[1:3]
        given = (size, size) if isinstance(size, int) else tuple(size or declared)
        if None in given:
            raise ConfigError(
                f"onnx: {self.model} does not say the size of its input", hint="give size=112, or what fits"
            )
        if any(own not in (None, other) for own, other in zip(declared, given, strict=True)):
            raise ConfigError(
                f"onnx: size = {size!r} does not fit {self.model}, whose input is {declared[0]} x {declared[1]}"
            )
        height, width = (int(side or 0) for side in given)
        return height, width

    def _input_type(self, graph: Graph, mean: Three, std: Three, scale: float) -> type[Any]:
        kind = _TYPES.get(graph.type)
        if kind is None:
            raise DataError(f"{self.model}: input {graph.input!r} is {graph.type}", hint="FLOAT, FLOAT16 or UINT8")
        changed = (tuple(mean), tuple(std), scale) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 255.0)
        if kind is np.uint8 and changed:
            raise ConfigError(f"onnx: {self.model} takes bytes: mean, std and scale have no effect")
        return kind


def _layout(graph: Graph, given: str | None) -> str:
    """Return the layout: as given, else by the dimension of three channels, else by that of one."""
    channels = {"NCHW": graph.shape[1], "NHWC": graph.shape[3]}
    if given is not None:
        if channels[given] not in (_COLOURS, 1, None):
            raise ConfigError(f"onnx: layout = {given!r} does not fit {graph.file}, whose input is {graph.shape}")
        return given
    for channel_count in (_COLOURS, 1):
        fitting = [name for name, count in channels.items() if count == channel_count]
        if len(fitting) == 1:
            return fitting[0]
    if None not in channels.values() and not {_COLOURS, 1} & set(channels.values()):
        raise DataError(f"{graph.file}: input {graph.input!r} has shape {graph.shape}, without three channels or one")
    raise ConfigError(
        f"onnx: input {graph.input!r} of {graph.file}, of shape {graph.shape}, has no clear layout",
        hint="give layout=NCHW",
    )


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise PluginError("onnx: ONNX Runtime is not installed", hint="pip install onnx onnxruntime") from error
    return onnxruntime


def _line(error: Exception) -> str:
    """Return the message of ONNX Runtime in one line."""
    return " ".join(cause_of(error).split())[:300]
