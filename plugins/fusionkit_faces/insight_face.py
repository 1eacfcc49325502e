"""Faces and landmarks of insightface's model packs: the SCRFD detector and, where the pack has it, 106 landmarks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Face, require_count, require_number
from fusionkit.contracts.extractor import Choice
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of
from fusionkit_faces.detector import Detector

PACKS = "https://github.com/deepinsight/insightface/tree/master/model_zoo"
HOME = "~/.insightface"
_TASKS = ("detection", "landmark_2d_106")
_LANDMARKS = 106
_SLIMMEST = 64  # a frame so many times longer than wide holds no face, and shrunk to the detector it has no width left
# The pupils, the tip of the nose and the corners of the mouth among the 106.
FIVE_OF_106 = (38, 88, 86, 52, 61)


class InsightFace(Detector):
    """Regions of faces that a model pack of insightface finds. Needs ``pip install 'fusionkit[faces]'``.

    A pack is a folder of ONNX files: an SCRFD detector and, as a rule, ``2d106det``. Where the pack has 106 landmarks,
    five of them align the face, else the detector's own five points do. The published packs are for non-commercial
    research only, and none is fetched unless ``allow_download`` says so.

    Args:
        pack: the folder, or the name of a pack below ``root/models``.
        face: of several faces, the ``largest``, the ``central`` one, or the one furthest ``left`` or ``right``.
        layout: boxes on the aligned face, as for ``template``.
        boxes: more boxes on the aligned face, or other ones, as for ``template``.
        score: the least score of a face, in 0..1.
        side: px to which frames are fitted to find faces, a multiple of 32; 0 takes the faces of 128 and of 640
            together, which is insightface's own default.
        allow_download: fetch a pack that is not there, as insightface does.
        root: where packs are looked for by name.

    Raises:
        ConfigError: if an option is wrong or the pack is not there.
        PluginError: if insightface is not installed.
        DataError: if the pack has no detector, or cannot be loaded or fetched.

    Reference: J. Guo et al., Sample and Computation Redistribution for Efficient Face Detection, 2021 (SCRFD),
    arXiv:2105.04714; https://github.com/deepinsight/insightface, order of the 106 landmarks as drawn in its
    ``alignment/coordinate_reg``.
    """

    files: ClassVar[tuple[str, ...]] = ("pack",)
    places: ClassVar[tuple[str, ...]] = ("root", "allow_download")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is nothing to build without a pack

    def __init__(
        self,
        pack: str = "buffalo_l",
        face: Choice = "largest",
        layout: Literal["emotic", "arcface"] = "emotic",
        boxes: dict[str, list[float]] | None = None,
        score: float = 0.5,
        side: int = 0,
        allow_download: bool = False,
        root: str = HOME,
    ) -> None:
        super().__init__(face, layout, boxes)
        require_number("insightface: score", score, above=0, most=1)
        require_count("insightface: side", side, least=0)
        if side % 32:
            raise ConfigError(f"insightface: side={side} is no multiple of 32")
        self._app = _loaded(_folder(pack, root, allow_download))
        self._app.prepare(ctx_id=0, det_thresh=score, det_size=(side, side) if side else None)
        self._dense = "landmark_2d_106" in self._app.models

    @classmethod
    def files_of(cls, option: str, options: Mapping[str, Any]) -> list[str]:
        """The models of the pack, wherever it lies.

        Raises:
            ConfigError: if it is not there.
        """
        folder = _folder(options[option], options["root"], options["allow_download"])
        return [str(path) for path in sorted(folder.glob("*.onnx"))]

    @property
    def point_count(self) -> int:
        """106, or 5 where the pack has no more."""
        return _LANDMARKS if self._dense else super().point_count

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Every face of one frame, surest first."""
        if max(frame.shape[:2]) > _SLIMMEST * min(frame.shape[:2]):
            return []
        found = self._app.get(np.ascontiguousarray(frame[..., ::-1]))
        faces = [self._face(item) for item in found if self._dense or item.kps is not None]
        return sorted(faces, key=lambda face: -face.score)

    def _face(self, item: Any) -> Face:
        dense = np.asarray(item.landmark_2d_106, np.float64) if self._dense else None
        points = np.asarray(item.kps, np.float64) if dense is None else dense[list(FIVE_OF_106)]
        return Face(np.asarray(item.bbox, np.float64), float(np.clip(item.det_score, 0, 1)), points, dense)


def _folder(pack: str, root: str, allow_download: bool) -> Path:
    """The folder with the ONNX files of a pack. Looked for before insightface is asked, which would fetch it."""
    named = Path(root).expanduser() / "models" / pack
    for folder in (Path(pack).expanduser(), named):
        if found := _with_models(folder):
            return found
    if Path(pack).expanduser().is_dir():
        raise ConfigError(f"insightface: pack={pack!r} holds no .onnx files", hint=f"packs: {PACKS}")
    if not allow_download or "/" in pack:
        raise ConfigError(
            f"insightface: pack={pack!r} is neither a folder nor in {named.parent}; nothing is downloaded unasked",
            hint=f"unpack it there from {PACKS}, or give allow_download=true",
        )
    utils = _insightface("insightface.utils")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            fetched = Path(utils.ensure_available("models", pack, root=root))
    except Exception as error:
        raise DataError(f"insightface: pack {pack} cannot be fetched: {cause_of(error)}", hint=PACKS) from error
    if found := _with_models(fetched):
        return found
    raise DataError(f"insightface: pack {pack} was fetched to {fetched}, which holds no .onnx files", hint=PACKS)


def _with_models(folder: Path) -> Path | None:
    """The folder, or the only one in it where a pack was unpacked one level too deep, that holds ONNX files."""
    if not folder.is_dir():
        return None
    places = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
    holding = [place for place in places if any(place.glob("*.onnx"))]
    return holding[0] if holding[:1] == [folder] or len(holding) == 1 else None


def _loaded(folder: Path) -> Any:
    """``FaceAnalysis`` on a folder, with one thread: the same frames give the same boxes on any machine's load."""
    app = _insightface("insightface.app")
    onnxruntime = _insightface("onnxruntime")
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = session.inter_op_num_threads = 1
    try:
        return app.FaceAnalysis(str(folder), allowed_modules=list(_TASKS), sess_options=session)
    except AssertionError as error:
        raise DataError(f"insightface: pack {folder} has no detector (SCRFD)", hint=f"packs: {PACKS}") from error
    except Exception as error:
        raise DataError(f"insightface: pack {folder} cannot be loaded: {cause_of(error)}") from error


def _insightface(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PluginError(
            f"insightface: {cause_of(error)}", hint="pip install 'fusionkit[faces]' brings insightface and onnxruntime"
        ) from error
