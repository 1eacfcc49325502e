"""Predict with an exported cell in ONNX Runtime. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
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
from fusionkit.predict.export.manifest import MODEL, Input, Manifest
from fusionkit.predict.predictor import Predictor, ViewSource
from fusionkit.predict.trained_head import TrainedHead
from fusionkit.registry import EXTRACTORS, TASKS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD

_PIECE = 16  # frames that the model gets together: attention between channels takes D * D values for each
LOGITS = "logits"  # the one "view" of an exported cell: (n, S, C), of which each head takes its own


class Model:
    """``model.onnx`` in ONNX Runtime.

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

    def __call__(self, feeds: Arrays) -> np.ndarray:
        """Return the logits (B, S, C) float32 of inputs by name.

        Raises:
            DataError: if the inputs do not fit the model.
        """
        try:
            found: np.ndarray = self._session.run([LOGITS], feeds)[0]
        except Exception as error:
            raise DataError(f"ONNX Runtime cannot run the model: {cause_of(error)}") from error
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
    """Cut the views of frames, and compute their logits batch by batch, as a FrameEmbedder computes embeddings.

    Args:
        inputs: of the model.
        extractor: spec; None if no region is cut.
        model: to run.
        heads: S.
        classes: C.
        size: frames per batch.
    """

    def __init__(
        self, inputs: Sequence[Input], extractor: Spec | None, model: Model, heads: int, classes: int, size: int
    ) -> None:
        self.size, self.embedding_seconds = size, 0.0
        self._inputs, self._model, self._output = inputs, model, (heads, classes)
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
        """Return the logits (n, S, C) of frames under the key ``logits``; NaN for a frame without any view."""
        logits = np.full((len(frames), *self._output), np.nan, np.float32)
        boxes: Boxes = [None] * len(frames)
        for start in range(0, len(frames), self.size):
            batch = locate(self.extractor, frames[start : start + self.size])
            feeds = self.feeds(batch)
            there = feeds["present"].any(1)
            if there.any():
                called = perf_counter()
                rows = np.flatnonzero(there)
                pieces = [rows[first : first + _PIECE] for first in range(0, len(rows), _PIECE)]
                found = np.concatenate(
                    [self._model({name: value[piece] for name, value in feeds.items()}) for piece in pieces]
                )
                self.embedding_seconds += perf_counter() - called
                if found.shape != (int(there.sum()), *self._output) or not np.isfinite(found).all():
                    raise DataError(f"the exported model gave {found.shape} logits, or some that are not finite")
                logits[start + np.array(batch.positions)[there]] = found
            for position, box in zip(batch.positions, batch.boxes, strict=True):
                boxes[start + position] = box
        return EmbeddedFrames({LOGITS: logits}, boxes)

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
class ExportedPredictor(Predictor):
    """An exported cell. Its results equal those of the cell to float32 rounding.

    Attributes:
        inputs: of the model.
        model: in ONNX Runtime.
    """

    inputs: tuple[Input, ...] = ()
    model: Model | None = None

    def embedder(self, size: int | None = None) -> ExportedEmbedder:  # type: ignore[override]
        """Return what computes the logits of frames, ``size`` at a time."""
        assert self.model is not None
        self.require_images()
        extractor = next((source.extractor for source in self.views.values() if source.extractor), None)
        return ExportedEmbedder(self.inputs, extractor, self.model, len(self.heads), len(self.classes), size or BATCH)

    def by_view(self, values: Arrays) -> Arrays:
        """Return the logits unchanged: each head takes its own."""
        return values

    def embed_dataset(
        self, dataset: Source, rows: np.ndarray | None = None, progress: Progress | None = None
    ) -> EmbeddingsInMemory:
        """Return the logits for rows of a data set. Nothing is cached.

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
            parts.append(embedder(dataset.images(rows[start : start + SHARD])).values[LOGITS])
            if progress:
                progress.advance(len(parts[-1]))
        return EmbeddingsInMemory({LOGITS: np.concatenate(parts)})


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
    scaling = Scaling(np.zeros(len(manifest.classes), np.float32), np.ones(len(manifest.classes), np.float32), False)
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
        heads=tuple(
            ExportedHead(
                seed=head.seed,
                fold=head.fold,
                scaling={LOGITS: scaling},
                smoother=_smoother(folder, manifest, head.smoother, head.state),
                prior=np.array(head.prior),
                index=index,
            )
            for index, head in enumerate(manifest.heads)
        ),
        impute=impute or manifest.impute,
        device=device,
        inputs=manifest.inputs,
        model=Model(manifest.read(folder, MODEL), str(folder / MODEL), device),
    )


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
