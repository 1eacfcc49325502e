"""Write a trained cell as ONNX and as a ``torch.export`` program, with manifest and model card."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import platform
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit._version import __version__
from fusionkit.config.views import FACE, regions_of
from fusionkit.contracts.extractor import SIDE
from fusionkit.data.layouts import check_free, new_folder
from fusionkit.engine.embed import locate, shared_backbone
from fusionkit.engine.features import Arrays, clip_edges
from fusionkit.engine.source import open_source
from fusionkit.errors import ConfigError, FusionKitError, PluginError, cause_of, component_errors
from fusionkit.grid.folder import RunFolder
from fusionkit.predict.export.card import model_card
from fusionkit.predict.export.exported import EMBEDDING, ExportedPredictor, open_exported
from fusionkit.predict.export.manifest import (
    CARD,
    FRAMES,
    FRAMES_PROGRAM,
    MANIFEST,
    MODEL,
    PROGRAM,
    HeadInfo,
    Input,
    Manifest,
    without_folders,
)
from fusionkit.predict.predictor import Predictor, ViewSource, frame_table
from fusionkit.predict.stored_cell import open_cell
from fusionkit.predict.trained_head import FusionHead
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS
from fusionkit.registry.options import defaults_filled, options_of
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 1e-3  # of probabilities: float32 in another order, then rounded to float16 as embeddings are
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_EXAMPLE = 3  # frames with which a network is traced; 1 would count as a constant
_FRAMES = 24  # by which the model is checked
_LONGEST = 4  # of them in a clip


@dataclass(frozen=True, eq=False)
class ExportedCell:
    """A folder that was written.

    Attributes:
        folder: its path.
        name: of the row or cell.
        check: differences between model and cell: see ``check`` in ``manifest.json``.
        code: views whose backbone is kept as code, with its spec.
        notes: what changed since the cell was trained, and limits of the exported model.
        size: bytes of the ONNX files.
    """

    folder: Path
    name: str
    check: Mapping[str, Any]
    code: Mapping[str, str]
    notes: tuple[str, ...]
    size: int


def export_cell(run: RunFolder, text: str, out: Path) -> ExportedCell:
    """Export a trained row or cell.

    The folder is written completely or not at all. It holds ``model.onnx``, ``model.pt2``, ``manifest.json``,
    ``model-card.md``, the state of fitted smoothers and files of the extractor. Of a row of clips, ``frames.onnx`` and
    ``frames.pt2`` hold the backbones, and the model takes pooled embeddings of clips.

    Args:
        run: the run folder.
        text: row or cell, as :func:`fusionkit.grid.lookup.find_row` takes it.
        out: the folder, new or empty.

    Raises:
        ConfigError: if the folder is not empty, a library is missing, or the text matches no row or several.
        DataError: if no cell of the row is finished.
        PluginError: if a component cannot be exported, or the exported model gives other probabilities.
        StorageError: if the folder cannot be written.
    """
    check_free(out)
    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise ConfigError(
            f"export needs {', '.join(missing)}, not installed here", hint="pip install 'fusionkit[onnx]'"
        )
    predictor = open_cell(run, text, "cpu")
    if not predictor.task.exclusive:
        raise ConfigError(f"{predictor.name} does not predict one class: only such rows can be exported")
    smoother = predictor.heads[0].smoother.members[0]
    if smoother.reads_embeddings():
        raise PluginError(
            f"{predictor.name} cannot be exported: its smoother needs embeddings, which the model does not give",
            hint="choose a row with another smoother",
        )
    if any(getattr(head, "of_clips", False) for head in predictor.heads):
        raise PluginError(
            f"{predictor.name} cannot be exported: its fusion uses neighbouring frames, and the model gets single ones",
            hint="choose a row with another fusion",
        )
    unique = {(source.backbone, source.tokens): source for source in predictor.views.values()}
    built = {key: _backbone_network(source) for key, source in unique.items()}
    networks = {name: built[source.backbone, source.tokens] for name, source in predictor.views.items()}
    inputs = _inputs(predictor, networks)
    graphs = list(_graphs(predictor, networks, inputs))
    with new_folder(out) as folder:
        files = {**{graph.file: _onnx_bytes(graph, predictor) for graph in graphs}, **_states(predictor)}
        extractor, options, own = _packed_extractor(predictor)
        files |= own
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        for graph in graphs:
            (folder / graph.program_file).write_bytes(_program_bytes(graph.program))
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        manifest = Manifest(
            name=predictor.name,
            dataset=str(_without_places(predictor.dataset)),
            classes=predictor.classes,
            inputs=inputs,
            heads=_heads(predictor),
            impute=predictor.impute,
            smoother={"causal": smoother.causal, "needs": smoother.needs, "hard": smoother.hard, "span": smoother.span},
            extractor=extractor,
            extractor_files=options,
            boxes=_fixed_boxes(predictor),
            files=hashes,
            check={},
            made_by=_versions(),
        )
        (folder / MANIFEST).write_bytes(manifest.dump())
        exported = open_exported(folder)
        check = _check(predictor, exported)
        manifest = replace(manifest, check=check)
        (folder / MANIFEST).write_bytes(manifest.dump())
        (folder / CARD).write_text(model_card(run, text, manifest), encoding="utf-8")
    code = {item.view: item.backbone for item in inputs if item.kind == "embedding" and item.backbone}
    size = sum(len(files[graph.file]) for graph in graphs)
    return ExportedCell(out, predictor.name, check, code, (*predictor.notes, *_notes(predictor)), size)


# -- the network -------------------------------------------------------------------------------------------------------


def _backbone_network(source: ViewSource) -> nn.Module | None:
    """Return the network of a view's backbone; None if it has none, or the data set provides the view."""
    if source.backbone is None:
        return None
    backbone = shared_backbone(source.backbone)
    if not backbone.gives_network():
        return None
    try:
        network = backbone.as_network(tokens=bool(source.tokens))
    except FusionKitError:
        return None
    except component_errors() as error:
        raise PluginError(f"backbone {source.backbone}: as_network() failed: {cause_of(error)}") from error
    return network.eval()


def _inputs(predictor: Predictor, networks: Mapping[str, nn.Module | None]) -> tuple[Input, ...]:
    found: list[Input] = []
    used = {"present", "logits", "probabilities"}
    for name, source in predictor.views.items():
        # Tensor names of other programs allow letters, digits and underscores.
        tensor = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "view"
        while tensor in used:
            tensor += "_2"
        used.add(tensor)
        spec = source.backbone
        head = predictor.heads[0]
        width = len(head.scaling[name].mean)
        backbone = shared_backbone(spec) if spec else None
        pixels = backbone is not None and networks[name] is not None
        if pixels:
            assert backbone is not None
            shape: tuple[int, ...] = (*backbone.input_size, 3)
        else:
            own = width // 2 if head.whole_clips else width
            shape = backbone.feature_shape(source.tokens) if backbone else (own,)
        found.append(
            Input(
                name=tensor,
                view=name,
                cut=str(source.view),
                kind="pixels" if pixels else "embedding",
                shape=shape,
                backbone=str(without_folders(spec) if pixels else spec) if spec else None,
                tokens=source.tokens,
                interpolation=backbone.interpolation if pixels and backbone else None,
                mean=tuple(backbone.mean) if pixels and backbone else None,
                std=tuple(backbone.std) if pixels and backbone else None,
                pooled=width if head.whole_clips else None,
            )
        )
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Graph:
    """A network that was traced, with a free number of frames or clips.

    Attributes:
        file: name of its ONNX file.
        program_file: name of its file as a ``torch.export`` program.
        inputs: names.
        outputs: names.
    """

    file: str
    program_file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    program: torch.export.ExportedProgram


def _graphs(
    predictor: Predictor, networks: Mapping[str, nn.Module | None], inputs: Sequence[Input]
) -> Iterator[_Graph]:
    """Yield the whole cell as one graph; or of a cell of clips its heads, and its backbones if it has any."""
    import torch

    from fusionkit.predict.export.network import BackbonesNetwork, CellNetwork, HeadNetwork

    heads, fusion = [], None
    for head in predictor.heads:
        assert isinstance(head, FusionHead)
        fusion = head.fusion
        heads.append(HeadNetwork(head.model, head.scaling, head.columns))
    tokens = {
        name: shared_backbone(source.backbone).feature_shape(source.tokens)[:-1] if source.backbone else ()
        for name, source in predictor.views.items()
    }
    given = {
        item.name: torch.zeros(_EXAMPLE, *item.shape, dtype=torch.uint8 if item.kind == "pixels" else torch.float32)
        for item in inputs
    }
    present = torch.ones(_EXAMPLE, len(inputs), dtype=torch.bool)
    names, outputs = ("present", *given), ("logits", "probabilities")
    if not predictor.heads[0].whole_clips:
        network = CellNetwork(BackbonesNetwork(networks, tokens), heads)
        what = f"fusion {fusion}, or a backbone of {predictor.name},"
        program = _traced(network, (present,), list(given.values()), "frames", what)
        yield _Graph(MODEL, PROGRAM, names, outputs, program)
        return
    network = CellNetwork(BackbonesNetwork(dict.fromkeys(networks), tokens), heads)
    clips = [torch.zeros(_EXAMPLE, item.pooled) for item in inputs if item.pooled]
    program = _traced(network, (present,), clips, "clips", f"fusion {fusion}")
    yield _Graph(MODEL, PROGRAM, names, outputs, program)
    pixels = {item.view: item.name for item in inputs if item.kind == "pixels"}
    if pixels:
        backbones = BackbonesNetwork({view: networks[view] for view in pixels}, tokens)
        frames = [given[name] for name in pixels.values()]
        program = _traced(backbones, (), frames, "frames", f"a backbone of {predictor.name}")
        embeddings = tuple(EMBEDDING + name for name in pixels.values())
        yield _Graph(FRAMES, FRAMES_PROGRAM, tuple(pixels.values()), embeddings, program)


def _traced(
    network: nn.Module, present: tuple[torch.Tensor, ...], inputs: Sequence[torch.Tensor], rows: str, what: str
) -> torch.export.ExportedProgram:
    """Return a network as a ``torch.export`` program whose number of rows, ``frames`` or ``clips``, is free."""
    import torch

    free = {0: torch.export.Dim(rows, min=1)}
    shapes = (*(free for _ in present), tuple(free for _ in inputs))
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(network.eval(), (*present, *inputs), dynamic_shapes=shapes)
        except component_errors() as error:
            # The contract of fusions wraps what fails inside.
            cause = error.__cause__ if isinstance(error, FusionKitError) and error.__cause__ else error
            raise PluginError(
                f"{what} cannot be exported: torch.export cannot trace it: {_first_line(cause)}",
                hint="control flow must not depend on values, and the batch size is x.shape[0], not len(x)",
            ) from error
    for node in program.graph.nodes:  # it holds paths of this machine
        node.meta.pop("stack_trace", None)
    return program


def _onnx_bytes(graph: _Graph, predictor: Predictor) -> bytes:
    import torch

    with _quiet():
        try:
            made = torch.onnx.export(
                graph.program,
                dynamo=True,
                input_names=graph.inputs,
                output_names=graph.outputs,
                verbose=False,
            )
            assert made is not None
            model = made.model_proto
            for name, value in {
                "classes": json.dumps(predictor.classes),
                "row": predictor.name,
                "fusionkit": __version__,
            }.items():
                entry = model.metadata_props.add()
                entry.key, entry.value = name, value
            for part in (model.graph, *model.functions):
                for node in part.node:  # stack traces, with paths of this machine
                    del node.metadata_props[:]
                    node.ClearField("doc_string")
            data: bytes = model.SerializeToString()
        except FusionKitError:
            raise
        except component_errors() as error:
            raise PluginError(
                f"{predictor.name} cannot be written as ONNX: {_first_line(error)}",
                hint="an operator of its fusion or backbone has no counterpart in ONNX, or the model exceeds 2 GiB",
            ) from error
    return data


def _program_bytes(program: torch.export.ExportedProgram) -> bytes:
    import torch

    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress and the warnings of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


# -- beside it ---------------------------------------------------------------------------------------------------------


def _heads(predictor: Predictor) -> tuple[HeadInfo, ...]:
    return tuple(
        HeadInfo(
            seed=head.seed,
            fold=head.fold,
            prior=tuple(head.prior.tolist()),
            smoother=str(head.smoother_spec),
            state=f"smoother-{index}.safetensors" if head.smoother.fitted else None,
        )
        for index, head in enumerate(predictor.heads)
        if isinstance(head, FusionHead)
    )


def _states(predictor: Predictor) -> dict[str, bytes]:
    import safetensors.numpy

    found = {}
    for index, head in enumerate(predictor.heads):
        if head.smoother.fitted:
            state = head.smoother.state()
            assert state is not None
            arrays = {name: np.ascontiguousarray(value) for name, value in state.items()}
            found[f"smoother-{index}.safetensors"] = safetensors.numpy.save(arrays)
    return found


def _extractor_of(predictor: Predictor) -> Spec | None:
    return next((item.extractor for item in predictor.views.values() if item.extractor and item.view != FACE), None)


def _packed_extractor(predictor: Predictor) -> tuple[str | None, tuple[str, ...], dict[str, bytes]]:
    """Return the extractor's spec with files of this folder, the options that are such files, and the files."""
    spec = _extractor_of(predictor)
    if spec is None:
        return None, (), {}
    cls = EXTRACTORS.get(spec.name)
    filled = defaults_filled(cls, spec.options)
    own, files = {}, {}
    for option in cls.files:
        path = Path(str(filled.get(option)))
        if option in spec.options and path.is_file():
            own[option] = f"extractor/{option}{path.suffix}"
            files[own[option]] = path.read_bytes()
    return str(Spec(spec.name, {**spec.options, **own})), tuple(own), files


def _fixed_boxes(predictor: Predictor) -> dict[str, list[float]] | None:
    """Return the boxes of an extractor that gives the same ones for a black and a random face; else None."""
    spec = _extractor_of(predictor)
    if spec is None:
        return None
    extractor = EXTRACTORS.build(spec)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    black, random = (locate(extractor, [face]).boxes[0] for face in (np.zeros_like(noise), noise))
    needed = regions_of(source.view for source in predictor.views.values())
    if not all(np.isfinite(black[name]).all() and np.array_equal(black[name], random[name]) for name in needed):
        return None
    return {name: [float(value) for value in black[name]] for name in extractor.regions if name in needed}


def _without_places(dataset: Spec) -> Spec:
    """Return a data set without the paths of this machine."""
    try:
        cls = DATASETS.get(dataset.name)
    except FusionKitError:
        return Spec(dataset.name)
    hidden = (*cls.places, *cls.files, *cls.nested)
    known = options_of(cls)
    return Spec(
        dataset.name, {key: value for key, value in dataset.options.items() if key in known and key not in hidden}
    )


def _versions() -> dict[str, str]:
    found = {"fusionkit": __version__, "python": platform.python_version()}
    for name in ("torch", *_LIBRARIES, "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _notes(predictor: Predictor) -> Iterator[str]:
    for spec in dict.fromkeys(source.backbone for source in predictor.views.values() if source.backbone):
        precision = shared_backbone(spec).precision("cpu")
        if precision != "float32":
            yield f"{spec} computes in {precision} here; the exported model computes in float32"


# -- equal numbers -----------------------------------------------------------------------------------------------------


def _check(predictor: Predictor, exported: ExportedPredictor) -> dict[str, Any]:
    """Compare the model with the cell on frames with every view, and with each view missing in turn.

    Raises:
        PluginError: if a probability differs by more than the tolerance.
    """
    feeds, views, frames, as_run = _check_inputs(predictor, exported)
    found, want = _logits(exported, exported.outputs(feeds)), _logits(predictor, views)
    probs, expected = _probabilities(found), _probabilities(want)
    worst = float(np.abs(probs - expected).max())
    if not worst <= TOLERANCE:
        fusion = getattr(predictor.heads[0], "fusion", "?")
        raise PluginError(
            f"{predictor.name} cannot be exported: the ONNX model gives other probabilities than the cell (by up to "
            f"{worst:.3g}, tolerance {TOLERANCE})",
            hint=f"fusion {fusion} or a backbone depends on values or on the batch in a way that a graph cannot hold",
        )
    check: dict[str, Any] = {
        "frames": frames,
        "rows": found.shape[1],
        "tolerance": TOLERANCE,
        "probabilities_differ_by": worst,
        "logits_differ_by": float(np.abs(found - want).max()),
        "same_label": int((probs.argmax(-1) == expected.argmax(-1)).all(0).sum()),
    }
    there = feeds["present"].all(1)
    if as_run is not None and there.any():  # the precision of this machine, such as bfloat16
        complete = np.all([~np.isnan(value).reshape(len(value), -1).any(1) for value in as_run.values()], axis=0)
        own = _logits(predictor, {name: value[complete] for name, value in as_run.items()})
        probs = _probabilities(
            _logits(exported, exported.outputs({name: value[there] for name, value in feeds.items()}))
        )
        check["probabilities_differ_from_this_machine_by"] = float(np.abs(probs - _probabilities(own)).max())
    return check


def _logits(predictor: Predictor, views: Arrays) -> np.ndarray:
    """Return the logits (S, n, C) of n frames; of a cell of clips, of their clips of 1 to 4 frames."""
    if not predictor.heads[0].whole_clips:
        return predictor.logits(views)
    count = len(next(iter(views.values())))
    clip = np.repeat(np.arange(count), np.arange(count) % _LONGEST + 1)[:count]
    found = predictor.logits(views, frame_table(count, clip.astype(np.str_), None))
    return found[:, clip_edges(clip)[:-1]]


def _probabilities(logits: np.ndarray) -> np.ndarray:
    from fusionkit.engine.smooth import softmax

    return np.stack([softmax(each) for each in logits])


def _check_inputs(predictor: Predictor, exported: ExportedPredictor) -> tuple[Arrays, Arrays, str, Arrays | None]:
    """Return inputs of the model, their float32 embeddings by the cell, their origin, and embeddings as in the run."""
    random = np.random.default_rng(0)
    if any(source.backbone is None for source in predictor.views.values()):
        views = {}
        for item in exported.inputs:
            scaling, width = predictor.heads[0].scaling[item.view], item.shape[-1]
            deviation = scaling.mean[width:] if item.pooled else scaling.scale  # of a clip the mean of its deviations
            drawn = scaling.mean[:width] + deviation * random.standard_normal((_FRAMES, *item.shape))
            views[item.view] = drawn.astype(np.float16).astype(np.float32)
        feeds = {item.name: views[item.view].copy() for item in exported.inputs}
        return (
            *_with_gaps(exported.inputs, feeds, views, np.ones((_FRAMES, len(views)), bool)),
            "random embeddings",
            None,
        )
    frames, origin = _check_frames(predictor, random)
    embedder = exported.embedder(len(frames))
    feeds = embedder.feeds(locate(embedder.extractor, frames))
    there = feeds.pop("present")
    views = {item.view: _embedded(predictor.views[item.view], feeds[item.name], item) for item in exported.inputs}
    as_run = predictor.embed(frames)
    return *_with_gaps(exported.inputs, feeds, views, there), origin, as_run


def _with_gaps(inputs: Sequence[Input], feeds: Arrays, views: Arrays, there: np.ndarray) -> tuple[Arrays, Arrays]:
    """Repeat the frames with each auxiliary view missing in turn; drop frames without any view."""
    patterns = [np.ones(len(inputs), bool)]
    if len(inputs) > 1:
        patterns += [~np.eye(len(inputs), dtype=bool)[column] for column in range(len(inputs))]
    present = np.concatenate([there & pattern for pattern in patterns])
    kept = present.any(1)
    feeds = {name: np.tile(value, (len(patterns), *[1] * (value.ndim - 1)))[kept] for name, value in feeds.items()}
    found = {}
    for column, item in enumerate(inputs):
        value = views[item.view]
        found[item.view] = np.tile(value, (len(patterns), *[1] * (value.ndim - 1)))[kept]
        found[item.view][~present[kept, column]] = np.nan
    return {"present": present[kept], **feeds}, found


def _embedded(source: ViewSource, given: np.ndarray, item: Input) -> np.ndarray:
    """Embed the pixels of a view in float32, rounded as stored embeddings are."""
    if item.kind == "embedding":
        return given
    assert source.backbone is not None
    backbone = BACKBONES.build(source.backbone)  # its own: the shared one keeps its precision
    backbone.prepare("cpu", "float32")
    values: np.ndarray = backbone(given, source.tokens).astype(np.float16).astype(np.float32)
    return values


def _check_frames(predictor: Predictor, random: np.random.Generator) -> tuple[list[np.ndarray], str]:
    """Return frames of the data set; random ones if it cannot be read here."""
    import cv2

    try:
        source = open_source(predictor.dataset, None)
        rows = np.unique(np.linspace(0, len(source.table) - 1, 2 * _FRAMES).astype(int))
        frames = [image for image in source.images(rows) if image is not None][:_FRAMES]
    except FusionKitError:
        frames = []
    if frames:
        return frames, f"{len(frames)} frames of the data set"
    coarse = random.integers(0, 256, (_FRAMES, 12, 12, 3), dtype=np.uint8)
    smooth = [cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for face in coarse]
    return smooth, f"{_FRAMES} random images"
