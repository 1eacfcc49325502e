"""Faces and landmarks of insightface's model packs: the SCRFD detector and, if the pack has them, 106 landmarks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from fusionkit.contracts import Face, Natural, Range
from fusionkit.contracts.extractor import Choice
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of, expanded
from fusionkit_faces.detector import Detector
from fusionkit_faces.template import Layout

PACKS = "https://github.com/deepinsight/insightface/tree/master/model_zoo"
HOME = "~/.insightface"
_TASKS = ("detection", "landmark_2d_106", "landmark_3d_68")
_LANDMARKS = {"landmark_2d_106": 106, "landmark_3d_68": 68}  # the first one of a pack is used
_SLIMMEST = 64  # a frame with a larger aspect ratio has no face, and no width left after shrinking
# The pupils, the tip of the nose and the corners of the mouth among the 106.
FIVE_OF_106 = (38, 88, 86, 52, 61)
_EYES_OF_68 = (slice(36, 42), slice(42, 48))  # their middle is the pupil's place
_REST_OF_68 = (30, 48, 54)


class InsightFace(Detector):
    """Regions of faces that a model pack of insightface detects.

    A pack is a folder of ONNX files: an SCRFD detector and usually ``2d106det`` or ``1k3d68``. Five points of the 106
    landmarks align the face, else of the 68, else the detector's five points do. The published packs are for
    non-commercial research only, and are downloaded only with ``allow_download``.

    Args:
        pack: the folder, or the name of a pack below ``root/models``.
        score: lowest score of a face.
        side: px to which frames are resized for detection, a multiple of 32; 0 joins the faces found at 128 and 640,
            which is the default of insightface.
        allow_download: download a missing pack, as insightface does.
        root: folder in which packs are searched by name.

    Raises:
        ConfigError: if a box or ``side`` is invalid, or the pack is missing.
        PluginError: if insightface or ONNX Runtime cannot be imported.
        DataError: if the pack has no detector, or cannot be loaded or downloaded.

    Reference: J. Guo et al., Sample and Computation Redistribution for Efficient Face Detection, 2021 (SCRFD),
    arXiv:2105.04714; https://github.com/deepinsight/insightface, order of the 106 landmarks as drawn in its
    ``alignment/coordinate_reg``.
    """

    revision: ClassVar[int] = 2  # boxes of arcface by default, from measured landmarks
    files: ClassVar[tuple[str, ...]] = ("pack",)
    places: ClassVar[tuple[str, ...]] = ("root", "allow_download")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # a pack is needed to build it

    def __init__(
        self,
        pack: str = "buffalo_l",
        face: Choice = "largest",
        layout: Layout = "arcface",
        boxes: dict[str, list[float]] | None = None,
        score: Annotated[float, Range(above=0, most=1)] = 0.5,
        side: Natural = 0,
        allow_download: bool = False,
        root: str = HOME,
    ) -> None:
        super().__init__(face, layout, boxes)
        if side % 32:
            raise ConfigError(f"insightface: side={side} must be a multiple of 32")
        self._app = _loaded(_folder(pack, root, allow_download))
        self._app.prepare(ctx_id=0, det_thresh=score, det_size=(side, side) if side else None)
        found = [task for task in _LANDMARKS if task in self._app.models]
        for task in found[1:]:
            del self._app.models[task]
        self._dense = found[0] if found else ""

    @classmethod
    def files_of(cls, option: str, options: Mapping[str, Any]) -> list[str]:
        """Return the models of the pack.

        Raises:
            ConfigError: if it is missing.
        """
        folder = _folder(options[option], options["root"], options["allow_download"])
        return [str(path) for path in sorted(folder.glob("*.onnx"))]

    @property
    def point_count(self) -> int:
        """106, or 68, or 5 if the pack has no more."""
        return _LANDMARKS.get(self._dense, super().point_count)

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Return every face of one frame, highest score first."""
        if max(frame.shape[:2]) > _SLIMMEST * min(frame.shape[:2]):
            return []
        found = self._app.get(np.ascontiguousarray(frame[..., ::-1]))
        faces = [self._face(item) for item in found if self._dense or item.kps is not None]
        return sorted(faces, key=lambda face: -face.score)

    def _face(self, item: Any) -> Face:
        dense = np.asarray(item[self._dense], np.float64)[:, :2] if self._dense else None
        points = np.asarray(item.kps, np.float64) if dense is None else _five(dense)
        return Face(np.asarray(item.bbox, np.float64), float(np.clip(item.det_score, 0, 1)), points, dense)


def _five(dense: np.ndarray) -> np.ndarray:
    """Return eyes, tip of the nose and corners of the mouth (5, 2) of 106 or 68 landmarks (K, 2)."""
    if len(dense) == _LANDMARKS["landmark_2d_106"]:
        return dense[list(FIVE_OF_106)]
    return np.array([*(dense[eye].mean(0) for eye in _EYES_OF_68), *dense[list(_REST_OF_68)]])


def _folder(pack: str, root: str, allow_download: bool) -> Path:
    """Return the folder with the ONNX files of a pack; it is searched here, since insightface would download it."""
    named = expanded(root) / "models" / pack
    if expanded(pack).is_file():
        raise ConfigError(f"insightface: pack={pack!r} is a file", hint=f"give its folder: pack={Path(pack).parent}")
    for folder in (expanded(pack), named):
        if found := _with_models(folder):
            return found
    if expanded(pack).is_dir():
        raise ConfigError(f"insightface: pack={pack!r} has no .onnx files", hint=f"packs: {PACKS}")
    if not allow_download or "/" in pack:
        raise ConfigError(
            f"insightface: pack={pack!r} is neither a folder nor in {named.parent}, and download is not allowed",
            hint=f"unpack it there from {PACKS}, or set allow_download=true",
        )
    with _importing():
        from insightface import utils
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            downloaded = Path(utils.ensure_available("models", pack, root=root))
    except Exception as error:
        raise DataError(f"insightface: pack {pack} cannot be downloaded: {cause_of(error)}", hint=PACKS) from error
    if found := _with_models(downloaded):
        return found
    raise DataError(f"insightface: pack {pack} was downloaded to {downloaded}, which has no .onnx files", hint=PACKS)


def _with_models(folder: Path) -> Path | None:
    """Return the folder with ONNX files: the given one, or the only one in it (a pack unpacked one level too deep)."""
    if not folder.is_dir():
        return None
    folders = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
    found = [each for each in folders if any(each.glob("*.onnx"))]
    return found[0] if found[:1] == [folder] or len(found) == 1 else None


def _loaded(folder: Path) -> Any:
    """Return ``FaceAnalysis`` of a folder with one thread, so that results do not depend on the load of the machine."""
    with _importing():
        import onnxruntime
        from insightface import app
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return app.FaceAnalysis(str(folder), allowed_modules=list(_TASKS), sess_options=options)
    except AssertionError as error:
        raise DataError(f"insightface: pack {folder} has no detector (SCRFD)", hint=f"packs: {PACKS}") from error
    except Exception as error:
        foreign = _unknown_file(folder, options)
        found = f"{foreign} is no model of insightface, or is damaged: " if foreign else ""
        hint = f"keep only the models of one pack in the folder ({PACKS})" if foreign else ""
        raise DataError(f"insightface: pack {folder} cannot be loaded: {found}{cause_of(error)}", hint=hint) from error


def _unknown_file(folder: Path, options: Any) -> str:
    """Return the name of the first ONNX file that insightface fails to open; empty if it opens each alone."""
    from insightface import model_zoo

    for path in sorted(folder.glob("*.onnx")):
        try:
            model_zoo.get_model(str(path), sess_options=options)
        except Exception:  # noqa: BLE001  # onnxruntime and insightface raise errors of many kinds
            return path.name
    return ""


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise PluginError(
            f"insightface: {cause_of(error)}",
            hint="pip install --force-reinstall insightface onnxruntime",
        ) from error
