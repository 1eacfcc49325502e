"""Predict with an exported cell in ONNX Runtime. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fusionkit.config.grid_config import EXPRESSION, IMPUTE
from fusionkit.config.views import FACE, View, regions_of
from fusionkit.contracts.extractor import Extractor
from fusionkit.contracts.task import Task
from fusionkit.engine.embed import (
    BATCH,
    Boxes,
    EmbeddedFrames,
    Embedding,
    LocatedBatch,
    ViewBatch,
    ViewEmbedder,
    locate,
    resized,
)
from fusionkit.engine.features import Arrays, EmbeddingsInMemory, FrameFeatures, Scaling, Timeline
from fusionkit.engine.restore import restored_smoother
from fusionkit.engine.smooth import TaskSmoother
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError, cause_of
from fusionkit.grid.progress import Progress
from fusionkit.predict.export.manifest import FRAMES, MODEL, Input, Manifest
from fusionkit.predict.predictor import Predictor, ViewSource
from fusionkit.predict.trained_head import ClipHead, TrainedHead
from fusionkit.registry import EXTRACTORS, TASKS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD

_PIECE = 16  # frames that the model gets together: attention between channels takes D * D values for each
LOGITS = "logits"  # the one "view" of an exported cell of frames: (n, S, C), of which each head takes its own
EMBEDDING = "embedding_"  # with the name of an input: its embedding, for a cell of clips


class Model:
    """An ONNX file in ONNX Runtime.

    Args:
        data: the file.
        name: of the file, for messages.
        device: ``cpu``, or ``cuda`` with or without a number.

    Raises:
        ConfigError: if ONNX Runtime is missing, or has no such device.
        DataError: if it cannot load the model.
    """

    def __init__(self, data: bytes, name: str, device: str = "cpu") -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise ConfigError(
                "exported cells run in ONNX Runtime, which is not installed", hint="pip install onnxruntime"
            ) from error
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors, which are raised as well
        try:
            self._session = ort.InferenceSession(data, options, providers=_providers(ort, device))
        except ConfigError:
            raise
        except Exception as error:  # the library raises classes of its own, without a common base
            raise DataError(f"{name} cannot be loaded by ONNX Runtime: {cause_of(error)}") from error

    def __call__(self, feeds: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
        """Return outputs of n frames or clips.

        Args:
            feeds: (n, ...) by name of the input.
            shapes: of one row of each output that is wanted, by name.

        Raises:
            DataError: if the inputs do not fit the model, an output is of another shape, or logits are not finite.
        """
        try:
            found = dict(zip(shapes, self._session.run(list(shapes), feeds), strict=True))
        except Exception as error:
            raise DataError(f"ONNX Runtime cannot run the model: {cause_of(error)}") from error
        for name, values in found.items():
            if values.shape[1:] != shapes[name]:
                raise DataError(
                    f"the exported model gave {name} of shape {values.shape}; expected (n, *{shapes[name]})"
                )
        if not np.isfinite(found.get(LOGITS, 0)).all():
            raise DataError("the exported model gave logits that are not finite")
        return found


def _providers(ort: Any, device: str) -> list[Any]:
    if device in ("auto", "cpu"):
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise ConfigError(f"option device = {device!r} must be auto, cpu, cuda or cuda:N for an exported cell")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise ConfigError("the installed ONNX Runtime has no CUDA", hint="pip install onnxruntime-gpu, or --device cpu")
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]


class ExportedEmbedder:
    """Cut the views of frames, and run the model batch by batch, as a FrameEmbedder computes embeddings.

    Args:
        inputs: of the model.
        extractor: spec; None if no region is cut.
        outputs: gives some outputs by key for the inputs of frames.
        shapes: of one frame's outputs, by key.
        size: frames per batch.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        extractor: Spec | None,
        outputs: Callable[[Arrays], Arrays],
        shapes: dict[str, tuple[int, ...]],
        size: int,
    ) -> None:
        self.size, self.embedding_seconds = size, 0.0
        self._inputs, self._outputs, self._shapes = inputs, outputs, shapes
        self._views = [View.parse(item.cut) for item in inputs]
        cropped = any(view != FACE for view in self._views)
        self.extractor: Extractor | None = EXTRACTORS.build(extractor) if extractor and cropped else None
        self._code = {
            item.name: ViewBatch(
                ViewEmbedder(
                    Embedding(item.name, extractor or Spec("none"), view, Spec.parse(item.backbone), item.tokens),
                    0,
                    "cpu",
                ),
                size,
                "cpu",
            )
            for item, view in zip(inputs, self._views, strict=True)
            if item.kind == "embedding" and item.backbone
        }

    @property
    def finds_faces(self) -> bool:
        """Whether the extractor looks for a face in the frame."""
        return self.extractor is not None and self.extractor.finds_faces

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of the views, in the extractor's order."""
        needed = regions_of(self._views)
        return tuple(region for region in self.extractor.regions if region in needed) if self.extractor else ()

    def __call__(self, frames: Sequence[np.ndarray | None]) -> EmbeddedFrames:
        """Return the outputs of frames by key; NaN for a frame without any view."""
        values = {key: np.full((len(frames), *shape), np.nan, np.float32) for key, shape in self._shapes.items()}
        boxes: Boxes = [None] * len(frames)
        for start in range(0, len(frames), self.size):
            batch = locate(self.extractor, frames[start : start + self.size])
            feeds = self.feeds(batch)
            there = feeds["present"].any(1)
            if there.any():
                called = perf_counter()
                rows = np.flatnonzero(there)
                for piece in (rows[first : first + _PIECE] for first in range(0, len(rows), _PIECE)):
                    found = self._outputs({name: value[piece] for name, value in feeds.items()})
                    for key, value in values.items():
                        value[start + np.array(batch.positions)[piece]] = found[key]
                self.embedding_seconds += perf_counter() - called
            for position, box in zip(batch.positions, batch.boxes, strict=True):
                boxes[start + position] = box
        return EmbeddedFrames(values, boxes)

    def feeds(self, batch: LocatedBatch) -> Arrays:
        """Return the inputs of the model for the frames of a batch that have an image."""
        count = len(batch.frames)
        feeds: Arrays = {"present": np.zeros((count, len(self._inputs)), bool)}
        for column, (item, view) in enumerate(zip(self._inputs, self._views, strict=True)):
            if item.name in self._code:
                feeds[item.name] = self._by_code(self._code[item.name], batch)
                feeds["present"][:, column] = ~np.isnan(feeds[item.name]).reshape(count, -1).any(1)
                continue
            feeds[item.name] = np.zeros((count, *item.shape), np.uint8)
            for row, cut in enumerate(batch.views(view).values()):
                if cut is not None:
                    assert item.interpolation is not None
                    feeds[item.name][row] = resized(cut, item.shape[:2], item.interpolation)  # type: ignore[arg-type]
                    feeds["present"][row, column] = True
        return feeds

    @staticmethod
    def _by_code(view: ViewBatch, batch: LocatedBatch) -> np.ndarray:
        view.embedder.reset(max(batch.positions, default=-1) + 1)
        view.embed(0, batch)
        found: np.ndarray = view.embedder.result(lambda row: f"frame {row}").astype(np.float32)[batch.positions]
        return found


@dataclass(frozen=True, eq=False)
class ExportedHead(TrainedHead):
    """A head whose logits the exported model computes.

    Attributes:
        index: of the head in the logits.
    """

    index: int

    def _logits(self, features: FrameFeatures, timeline: Timeline) -> np.ndarray:
        found: np.ndarray = features.take(np.arange(len(features.seen))).views[LOGITS][:, self.index].copy()
        found[~features.seen] = np.nan
        return found


@dataclass(frozen=True, eq=False)
class ExportedClipHead(ClipHead):
    """A head whose logits the exported model computes from pooled embeddings.

    Attributes:
        index: of the head in the logits.
        inputs: of the model.
        model: gives the logits (n, S, C) of clips.
    """

    index: int
    inputs: tuple[Input, ...]
    model: Callable[[Arrays], np.ndarray]

    def _logits(self, features: FrameFeatures, timeline: Timeline) -> np.ndarray:
        every = features.take(np.arange(len(features.seen)))
        feeds = {item.name: every.views[item.view] for item in self.inputs}
        feeds["present"] = np.stack([every.present[item.view] for item in self.inputs], 1)
        found = self.model(feeds)[:, self.index].copy()
        found[~features.seen] = np.nan
        return found


@dataclass(frozen=True, eq=False)
class ExportedPredictor(Predictor):
    """An exported cell. Its results equal those of the cell to float32 rounding.

    Attributes:
        inputs: of the model.
        model: in ONNX Runtime: of frames the cell, of clips the backbones, or None where there is none.
    """

    inputs: tuple[Input, ...] = ()
    model: Model | None = None

    def outputs(self, feeds: Arrays) -> Arrays:
        """Return what heads need of n frames.

        Args:
            feeds: ``present`` (n, V) bool, and the inputs by name, (n, ...).

        Returns:
            The logits (n, S, C) under the key ``logits``; of a cell of clips the embeddings (n, D) by view, a row of
            NaN for a missing view.

        Raises:
            DataError: if the model does not fit, or gives values that are not finite.
        """
        if not self.heads[0].whole_clips:
            assert self.model is not None
            return self.model(feeds, self._shapes)
        pixels = [item for item in self.inputs if item.kind == "pixels"]
        shapes = {EMBEDDING + item.name: self._shapes[item.view] for item in pixels}
        embedded = self.model({item.name: feeds[item.name] for item in pixels}, shapes) if self.model else {}
        found = {item.view: embedded.get(EMBEDDING + item.name, feeds[item.name]).copy() for item in self.inputs}
        for item, there in zip(self.inputs, feeds["present"].T, strict=True):
            if not np.isfinite(found[item.view][there]).all():
                raise DataError(f"the exported model gave an embedding of view {item.view} that is not finite")
            found[item.view][~there] = np.nan
        return found

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one frame's :meth:`outputs`, by key."""
        if self.heads[0].whole_clips:
            return {item.view: (item.pooled // 2,) for item in self.inputs if item.pooled}
        return {LOGITS: (len(self.heads), len(self.classes))}

    def embedder(self, size: int | None = None) -> ExportedEmbedder:  # type: ignore[override]
        """Return what computes :meth:`outputs` of frames, ``size`` at a time."""
        self.require_images()
        extractor = next((source.extractor for source in self.views.values() if source.extractor), None)
        return ExportedEmbedder(self.inputs, extractor, self.outputs, self._shapes, size or BATCH)

    def by_view(self, values: Arrays) -> Arrays:
        """Return the values unchanged: they are by view, or logits, of which each head takes its own."""
        return values

    def embed_dataset(
        self, dataset: Source, rows: np.ndarray | None = None, progress: Progress | None = None
    ) -> EmbeddingsInMemory:
        """Return :meth:`outputs` for rows of a data set. Nothing is cached.

        Args:
            dataset: an open data set.
            rows: (n,) of its table, ascending; None: all.
            progress: counts frames.
        """
        chosen = np.arange(len(dataset.table)) if rows is None else np.asarray(rows)
        progress = progress or Progress()
        with progress.stage("embed", len(chosen), "frames"):
            return self._embed_instance(dataset, chosen, progress)

    def _embed_instance(self, dataset: Any, rows: np.ndarray, progress: Progress | None = None) -> EmbeddingsInMemory:
        embedder, parts = self.embedder(), []
        for start in range(0, len(rows), SHARD):
            own = rows[start : start + SHARD]
            parts.append(embedder(dataset.images(own)).values)
            if progress:
                progress.advance(len(own))
        return EmbeddingsInMemory({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def open_exported(folder: Path, device: str = "cpu", impute: str | None = None) -> ExportedPredictor:
    """Return the predictor of an exported cell.

    Args:
        folder: that :func:`fusionkit.predict.export.write.export_cell` wrote.
        device: ``auto`` or ``cpu``, ``cuda`` or ``cuda:N``.
        impute: imputation of frames without any view; None: as in the run.

    Raises:
        ConfigError: if ONNX Runtime is missing, or an option is wrong.
        DataError: if a file is missing or damaged.
        PluginError: if a component is not registered, or does not accept its stored state.
    """
    if impute not in (None, *IMPUTE):
        near = did_you_mean(impute, IMPUTE)
        raise ConfigError(f"option impute = {impute!r} must be one of: {', '.join(IMPUTE)}{near}")
    manifest = Manifest.load(folder)
    extractor = _extractor(folder, manifest)

    def model(name: str) -> Model:
        return Model(manifest.read(folder, name), str(folder / name), device)

    whole = model(MODEL)
    shapes = {LOGITS: (len(manifest.heads), len(manifest.classes))}

    def logits_of_clips(feeds: Arrays) -> np.ndarray:
        return whole(feeds, shapes)[LOGITS]

    return ExportedPredictor(
        name=manifest.name,
        dataset=Spec.parse(manifest.dataset),
        task=_task(manifest),
        views={
            item.view: ViewSource(
                View.parse(item.cut), extractor, Spec.parse(item.backbone) if item.backbone else None, item.tokens
            )
            for item in manifest.inputs
        },
        heads=tuple(_head(folder, manifest, index, logits_of_clips) for index in range(len(manifest.heads))),
        impute=impute or manifest.impute,
        device=device,
        inputs=manifest.inputs,
        model=whole if not manifest.whole_clips else model(FRAMES) if FRAMES in manifest.files else None,
    )


def _head(folder: Path, manifest: Manifest, index: int, model: Callable[[Arrays], np.ndarray]) -> TrainedHead:
    info = manifest.heads[index]
    common: dict[str, Any] = {
        "seed": info.seed,
        "fold": info.fold,
        "smoother": _smoother(folder, manifest, info.smoother, info.state),
        "prior": np.array(info.prior),
        "index": index,
    }
    if not manifest.whole_clips:
        return ExportedHead(scaling={LOGITS: _unscaled(len(manifest.classes))}, **common)
    scaling = {item.view: _unscaled(item.pooled) for item in manifest.inputs if item.pooled}
    return ExportedClipHead(scaling=scaling, inputs=manifest.inputs, model=model, **common)


def _unscaled(width: int) -> Scaling:
    return Scaling(np.zeros(width, np.float32), np.ones(width, np.float32), False)


def _extractor(folder: Path, manifest: Manifest) -> Spec | None:
    if manifest.extractor is None:
        return None
    spec = Spec.parse(manifest.extractor)
    own = {}
    for option in manifest.extractor_files:
        manifest.read(folder, str(spec.options[option]))  # checks it
        own[option] = str(folder / str(spec.options[option]))
    return Spec(spec.name, {**spec.options, **own})


def _task(manifest: Manifest) -> Task:
    """Return the task of one class per frame; what the model has learned from does not matter any more."""
    task: Task = TASKS.build(EXPRESSION, names=manifest.classes)
    return task


def _smoother(folder: Path, manifest: Manifest, spec: str, state: str | None) -> TaskSmoother:
    import safetensors.numpy

    stored = safetensors.numpy.load(manifest.read(folder, state)) if state else None
    return restored_smoother(_task(manifest), Spec.parse(spec), stored)
