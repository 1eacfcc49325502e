"""Model packs of insightface that say always the same: the inputs and outputs of SCRFD and of 2d106, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 128
STRIDES, ANCHORS = (8, 16, 32), 2
LANDMARK_SIDE = 192


@dataclass(frozen=True, eq=False)
class Said:
    """A face that the detector gives in every image of 128 px.

    Attributes:
        box: (4,) left, top, right, bottom.
        points: (5, 2).
        score: in 0..1.
    """

    box: np.ndarray
    points: np.ndarray
    score: float = 0.9


def write_pack(folder: Path, faces: Sequence[Said], marks: np.ndarray | None = None) -> Path:
    """Write a pack.

    Args:
        folder: made for it.
        faces: what the detector finds.
        marks: (106, 2) landmarks in -1..1 of the square of 1.5 times the box's longer side around its centre; None
            leaves the second model out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(detector(faces), str(folder / "det_tiny.onnx"))
    if marks is not None:
        onnx.save(constant([1, 3, LANDMARK_SIDE, LANDMARK_SIDE], [marks.reshape(1, 212)]), str(folder / "2d106.onnx"))
    return folder


def detector(faces: Sequence[Said]) -> onnx.ModelProto:
    """Nine outputs: for each stride scores (A, 1), then distances to the box's edges (A, 4), then to points (A, 10)."""
    counts = [(SIDE // stride) ** 2 * ANCHORS for stride in STRIDES]
    scores, edges, points = ([np.zeros((count, width), np.float32) for count in counts] for width in (1, 4, 10))
    stride = STRIDES[0]
    for face in faces:
        cell = np.floor((face.box[:2] + face.box[2:]) / 2 / stride).astype(int)
        anchor = (cell[1] * (SIDE // stride) + cell[0]) * ANCHORS
        centre = cell * stride
        scores[0][anchor] = face.score
        edges[0][anchor] = np.concatenate([centre - face.box[:2], face.box[2:] - centre]) / stride
        points[0][anchor] = ((face.points - centre) / stride).ravel()
    return constant([1, 3, "height", "width"], [*scores, *edges, *points])


def constant(shape: list[int | str], outputs: Sequence[np.ndarray]) -> onnx.ModelProto:
    """A model that gives these arrays whatever it is given."""
    names = [f"out{place}" for place in range(len(outputs))]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32)))
        for name, value in zip(names, outputs, strict=True)
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in zip(names, outputs, strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model
