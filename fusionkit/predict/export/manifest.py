"""``manifest.json`` of an exported cell: what a program needs to feed the model and to read its output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from fusionkit.config.views import View
from fusionkit.contracts.backbone import Interpolation, TokenCount
from fusionkit.errors import ConfigError, DataError, cause_of
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import json_text

MANIFEST, MODEL, PROGRAM, CARD = "manifest.json", "model.onnx", "model.pt2", "model-card.md"
FRAMES, FRAMES_PROGRAM = "frames.onnx", "frames.pt2"  # of a cell of clips: the backbones
FORMAT = 1
_MEANING = {
    "inputs": "present: (frames, views) bool, in the order of inputs; a missing view may hold anything, such as zeros. "
    "pixels: (frames, height, width, 3) uint8 RGB; cut the view, resize it with OpenCV's named interpolation without "
    "keeping its aspect ratio; the model normalises by mean and std itself. embedding: float32",
    "outputs": "logits: (frames, heads, classes) float32. probabilities: (frames, classes) float32, the mean of "
    "softmax(logits) over heads, not smoothed",
    "smoothing": "for each head: softmax of its logits unless the smoother needs logits, then the smoother over the "
    "frames of one clip; then the mean over heads. Frames without any view are imputed from their clip",
    "boxes": "centre x, centre y, width, height and clockwise angle in degrees; pixels of an aligned face of 112 x 112,"
    " the origin at the top left corner of the first pixel. null: the extractor finds them in each frame",
}
_MEANING_OF_CLIPS = {
    "inputs": _MEANING["inputs"] + ". frames.onnx takes pixels and gives an embedding of each frame and view, "
    "embedding_NAME. model.onnx takes clips: of each view the mean, then the standard deviation (divided by n), of its "
    "embeddings over the frames of the clip that have it, computed in float64; present: (clips, views)",
    "outputs": _MEANING["outputs"].replace("frames", "clips"),
    "smoothing": "none. A clip without any view has the mean prior of the heads",
}


@dataclass(frozen=True)
class Input:
    """One input of the model.

    Attributes:
        name: of the tensor.
        view: name of the view in the cell, such as ``face`` or ``face#2``.
        cut: the view as text.
        kind: ``pixels``, or ``embedding``: then a backbone that could not be written as a network, or the data set,
            provides it.
        shape: of one frame: (H, W, 3), (D,), (K, D) or (H, W, D).
        backbone: spec; None where the data set provides the view.
        tokens: K; 0 for one pooled embedding; ``map`` for tokens in their grid.
        interpolation: of resizing; None for an embedding.
        mean: of each RGB channel, of values scaled to 0..1; None for an embedding.
        std: as ``mean``.
        pooled: width 2 D of the view's features of a clip; None where frames are labelled.
    """

    name: str
    view: str
    cut: str
    kind: Literal["pixels", "embedding"]
    shape: tuple[int, ...]
    backbone: str | None
    tokens: TokenCount
    interpolation: Interpolation | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    pooled: int | None = None

    def __post_init__(self) -> None:
        View.parse(self.cut)
        if self.backbone is not None:
            Spec.parse(self.backbone)
        if self.kind not in ("pixels", "embedding") or any(type(side) is not int or side < 1 for side in self.shape):
            raise ValueError(f"input {self.name!r} has kind {self.kind!r} and shape {self.shape}")
        if self.kind == "pixels" and (self.interpolation not in get_args(Interpolation) or len(self.shape) != 3):
            raise ValueError(f"input {self.name!r} has interpolation {self.interpolation!r} and shape {self.shape}")
        if self.pooled is not None and (type(self.pooled) is not int or self.pooled < 1):
            raise ValueError(f"input {self.name!r} has pooled width {self.pooled!r}")


@dataclass(frozen=True)
class HeadInfo:
    """One head of the model: an index of the second axis of its logits.

    Attributes:
        seed: of its training.
        fold: that it was trained in.
        prior: (C,) class shares of the training frames.
        smoother: spec, with the options chosen on dev.
        state: file of the fitted smoother; None if it does not learn.
    """

    seed: int
    fold: str
    prior: tuple[float, ...]
    smoother: str
    state: str | None


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes:
        name: of the row or cell.
        dataset: that it was trained on.
        classes: the C class names.
        inputs: of the model, main view first.
        heads: in the order of the logits.
        impute: imputation of frames without any view.
        smoother: causal: whether frames can be smoothed as they come; needs: its input; span as in its contract.
        extractor: spec; None if no region is cut.
        extractor_files: options of the extractor that are files of the folder.
        boxes: by region, of an extractor that always gives the same ones; else None.
        files: SHA-256 by name of every file that is read.
        check: differences between the model and the cell.
        made_by: versions.
    """

    name: str
    dataset: str
    classes: tuple[str, ...]
    inputs: tuple[Input, ...]
    heads: tuple[HeadInfo, ...]
    impute: str
    smoother: Mapping[str, Any]
    extractor: str | None
    extractor_files: tuple[str, ...]
    boxes: Mapping[str, list[float]] | None
    files: Mapping[str, str]
    check: Mapping[str, Any]
    made_by: Mapping[str, str]

    @property
    def whole_clips(self) -> bool:
        """Whether the model predicts clips, from pooled embeddings."""
        return self.inputs[0].pooled is not None

    def dump(self) -> bytes:
        """Return the file."""
        meaning = _MEANING | (_MEANING_OF_CLIPS if self.whole_clips else {})
        return (json_text({"fusionkit_export": FORMAT, **asdict(self), "meaning": meaning}, indent=1) + "\n").encode()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the manifest of a folder, and check its form.

        Raises:
            ConfigError: if the folder has none.
            DataError: if it is damaged, or of a later version.
        """
        path = folder / MANIFEST
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise ConfigError(f"{folder} holds no {MANIFEST}", hint="a folder that fusionkit export wrote") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read: {cause_of(error)}") from error
        version = found.get("fusionkit_export") if isinstance(found, dict) else None
        if type(version) is not int:
            raise DataError(f"{path} is not the manifest of an exported cell")
        if version > FORMAT:
            raise DataError(f"{path} was written by a later fusionkit (format {version}; this one reads {FORMAT})")
        try:
            return cls._of({key: found[key] for key in cls.__dataclass_fields__})
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise DataError(f"{path} is damaged: {cause_of(error)}") from error

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Self:
        classes = tuple(str(name) for name in values["classes"])
        inputs = tuple(Input(**{**item, "shape": tuple(item["shape"])}) for item in values["inputs"])
        heads = tuple(HeadInfo(**{**item, "prior": tuple(map(float, item["prior"]))}) for item in values["heads"])
        kinds = {item.pooled is None for item in inputs}
        if len(classes) < 2 or len(kinds) != 1 or not heads or any(len(head.prior) != len(classes) for head in heads):
            raise ValueError("classes, inputs and heads do not fit each other")
        for name in values["files"]:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"file {name!r} is outside the folder")
        return cls(**{**values, "classes": classes, "inputs": inputs, "heads": heads})

    def read(self, folder: Path, name: str) -> bytes:
        """Return a file of the folder.

        Raises:
            DataError: if it is missing, or differs from when it was exported.
        """
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.files.get(name):
            raise DataError(f"{folder / name} differs from the file that was exported", hint="export the cell again")
        return data


def without_folders(spec: Spec) -> Spec:
    """Return a component whose options name files without their folders, which are those of one machine."""
    shown = {
        key: value.replace("\\", "/").rpartition("/")[2] if isinstance(value, str) else value
        for key, value in spec.options.items()
    }
    return Spec(spec.name, shown)


def is_exported(folder: Path) -> bool:
    """Return whether a folder holds an exported cell, not a run."""
    return (folder / MANIFEST).is_file()
