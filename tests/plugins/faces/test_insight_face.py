"""insightface end to end, on packs that tests write: the signatures of SCRFD and 2d106, constant outputs."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from skimage.transform import SimilarityTransform
from tiny_pack import SIDE, Said, constant, write_pack
from toy_faces import moved, place

from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.errors import ConfigError, DataError, PluginError
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity
from fusionkit.testing import check_extractor
from fusionkit_faces.insight_face import FIVE_OF_106, InsightFace
from fusionkit_faces.template import Template

FRAME = np.zeros((SIDE, SIDE, 3), np.uint8)


def said(x: float, y: float, scale: float, roll: float = 0.0, score: float = 0.9) -> Said:
    points = moved(TEMPLATE, place(x, y, scale, roll))
    size = 50 * scale
    return Said(np.array([x - size, y - size, x + size, y + size]), points, score)


def landmarks(face: Said, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """106 points of which five are where the face's own are, in px and as the model gives them."""
    marks = np.random.default_rng(seed).uniform(face.box[:2], face.box[2:], (106, 2))
    marks[list(FIVE_OF_106)] = face.points
    half = (face.box[2:] - face.box[:2]).max() * 1.5 / 2
    return marks, (marks - (face.box[:2] + face.box[2:]) / 2) / half


def test_the_detectors_own_points_align_where_a_pack_has_no_landmarks(tmp_path: Path):
    face = said(60, 70, 0.5, 20)
    extractor = InsightFace(str(write_pack(tmp_path, [face])), side=SIDE)
    (found,) = extractor.detect(FRAME)
    np.testing.assert_allclose(found.points, face.points, atol=1e-3)
    np.testing.assert_allclose(found.box, face.box, atol=1e-3)
    assert found.score == pytest.approx(0.9)
    located = extractor([FRAME])
    assert located.landmarks.shape == (1, 5, 2)
    assert located.boxes[0, :, 4] == pytest.approx(20, abs=0.01)


def test_68_landmarks_align_where_a_pack_has_no_106(tmp_path: Path):
    face = said(60, 70, 0.5, 20)
    rng = np.random.default_rng(0)
    marks = rng.uniform(face.box[:2], face.box[2:], (68, 2))
    marks[[30, 48, 54]] = face.points[2:]
    for eye, pupil in ((slice(36, 42), face.points[0]), (slice(42, 48), face.points[1])):
        marks[eye] += pupil - marks[eye].mean(0)
    half = (face.box[2:] - face.box[:2]).max() * 1.5 / 2
    given = np.zeros((1103, 3))  # of the 3D model, the last 68 are the landmarks
    given[-68:] = np.column_stack([(marks - (face.box[:2] + face.box[2:]) / 2) / half, rng.uniform(-1, 1, 68)])
    pack = write_pack(tmp_path, [Said(face.box, rng.uniform(40, 90, (5, 2)))])
    onnx.save(constant([1, 3, 192, 192], [given.reshape(1, -1)]), str(pack / "1k3d68.onnx"))
    extractor = InsightFace(str(pack), side=SIDE)
    (found,) = extractor.detect(FRAME)
    np.testing.assert_allclose(found.points, face.points, atol=1e-2)
    np.testing.assert_allclose(found.landmarks, marks, atol=1e-2)
    assert extractor([FRAME]).landmarks.shape == (1, 68, 2)


def test_boxes_follow_the_landmarks_and_are_those_of_template_on_the_aligned_face(tmp_path: Path):
    face = said(60, 70, 0.5, -35)
    marks, given = landmarks(face)
    wrong = Said(face.box, face.points + 9)  # where there are landmarks, these do not count
    extractor = InsightFace(str(write_pack(tmp_path, [wrong], given)), side=SIDE)
    located = extractor([FRAME])
    np.testing.assert_allclose(located.landmarks[0], marks, atol=1e-3)
    to_template = SimilarityTransform.from_estimate(face.points, TEMPLATE)
    upright = Template("arcface").locate([np.empty((112, 112, 3), np.uint8)]).boxes[0]
    np.testing.assert_allclose(to_template(located.boxes[0, :, :2] - 0.5) + 0.5, upright[:, :2], atol=1e-2)
    np.testing.assert_allclose(located.boxes[0, :, 2:4] * to_template.scale, upright[:, 2:4], rtol=1e-4)
    assert located.boxes[0, :, 4] == pytest.approx(-35, abs=0.01)


def test_frames_of_other_sizes_are_fitted_into_the_detector(tmp_path: Path):
    face = said(60, 40, 0.4)
    extractor = InsightFace(str(write_pack(tmp_path, [face])), side=SIDE)
    (found,) = extractor.detect(np.zeros((300, 512, 3), np.uint8))
    np.testing.assert_allclose(found.points, face.points * 4, atol=1e-2)


def test_one_of_several_faces_is_chosen_and_weak_ones_do_not_count(tmp_path: Path):
    faces = [
        said(30, 30, 0.2, score=0.95),
        said(70, 60, 0.3),
        said(100, 90, 0.4, score=0.7),
        said(20, 100, 0.3, 0, 0.4),
    ]
    pack = str(write_pack(tmp_path, faces))
    assert [round(face.score, 2) for face in InsightFace(pack, side=SIDE).detect(FRAME)] == [0.95, 0.9, 0.7]
    for which, x in {"left": 30, "right": 100, "central": 70, "largest": 100}.items():
        located = InsightFace(pack, face=which, side=SIDE)([FRAME])
        assert abs(located.boxes[0, :, 0] - x).max() < 12


def test_no_face_gives_nan(tmp_path: Path):
    extractor = InsightFace(str(write_pack(tmp_path, [], np.zeros((106, 2)))), side=SIDE)
    located = extractor([FRAME, FRAME])
    assert np.isnan(located.boxes).all()
    assert located.landmarks.shape == (2, 106, 2)
    assert np.isnan(located.landmarks).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (3000, 2), (7, 90)])
def test_a_frame_of_any_size_can_be_looked_at(tmp_path: Path, shape: tuple[int, int]):
    assert InsightFace(str(write_pack(tmp_path, [])), side=SIDE).detect(np.zeros((*shape, 3), np.uint8)) == []


def test_it_passes_the_kit_with_a_pack(tmp_path: Path):
    face = said(60, 70, 0.5)
    pack = write_pack(tmp_path, [face], landmarks(face)[1])
    results = check_extractor(InsightFace, examples=[{"pack": str(pack), "side": SIDE}])
    constant = "its boxes do not depend on the content of the frame"  # nor does what this pack says
    assert {result.check: (result.outcome, result.message) for result in results if result.outcome != "passed"} == {
        "boxes_move_with_the_face": ("skipped", constant),
        "angle_is_in_degrees": ("skipped", constant),
    }


def test_a_pack_is_found_by_name_and_one_level_too_deep(tmp_path: Path):
    face = said(60, 70, 0.5)
    write_pack(tmp_path / "models/tiny/tiny", [face])
    extractor = EXTRACTORS.build(Spec.parse(f"insightface:pack=tiny,side={SIDE},root={tmp_path}"))
    assert len(extractor.detect(FRAME)) == 1


def test_results_are_tied_to_the_models_of_the_pack_and_not_to_where_it_lies(tmp_path: Path):
    def identity(spec: str) -> object:
        return component_identity(EXTRACTORS, Spec.parse(f"insightface:{spec}"))["options"]["pack"]

    write_pack(tmp_path / "models/tiny", [said(60, 70, 0.5)])
    write_pack(tmp_path / "same", [said(60, 70, 0.5)])
    write_pack(tmp_path / "other", [said(60, 71, 0.5)])
    named = identity(f"pack=tiny,root={tmp_path}")
    assert named == identity(f"pack={tmp_path}/same")
    assert named != identity(f"pack={tmp_path}/other")
    with pytest.raises(ConfigError, match="download is not allowed"):
        identity(f"pack=gone,root={tmp_path}")


def test_nothing_is_downloaded_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from insightface import utils

    asked: list[object] = []
    monkeypatch.setattr(utils, "ensure_available", lambda *args, **_: asked.append(args))
    with pytest.raises(ConfigError, match=r"pack='buffalo_l' is neither a folder nor in .*, and download is not") as e:
        InsightFace(root=str(tmp_path))
    assert "allow_download=true" in str(e.value)
    assert not asked
    assert not list(tmp_path.iterdir())


def test_a_download_that_was_asked_for_happens_and_its_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    from insightface import utils

    def fetched(kind: str, name: str, root: str) -> str:
        sys.stdout.write("download_path")
        return str(write_pack(Path(root) / kind / name, [said(60, 70, 0.5)]))

    monkeypatch.setattr(utils, "ensure_available", fetched)
    extractor = InsightFace("tiny", root=str(tmp_path / "new"), side=SIDE, allow_download=True)
    assert len(extractor.detect(FRAME)) == 1
    assert capsys.readouterr().out == ""

    def offline(*args: object, **options: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(utils, "ensure_available", offline)
    with pytest.raises(DataError, match="pack gone cannot be downloaded: ConnectionError: no route to host"):
        InsightFace("gone", root=str(tmp_path), allow_download=True)


def test_what_is_no_pack_is_told(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty' has no \.onnx files"):
        InsightFace(str(tmp_path / "empty"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/det.onnx").write_bytes(b"no model")
    with pytest.raises(
        DataError, match=r"broken cannot be loaded: det\.onnx is no model of insightface, or is damaged"
    ):
        InsightFace(str(tmp_path / "broken"))
    with pytest.raises(ConfigError, match=r"det\.onnx' is a file") as caught:
        InsightFace(str(tmp_path / "broken/det.onnx"))
    assert caught.value.hint == f"give its folder: pack={tmp_path / 'broken'}"
    (tmp_path / "landmarks").mkdir()
    onnx.save(constant([1, 3, 192, 192], [np.zeros((1, 212))]), str(tmp_path / "landmarks/2d106.onnx"))
    with pytest.raises(DataError, match=r"landmarks has no detector \(SCRFD\)"):
        InsightFace(str(tmp_path / "landmarks"))
    pack = write_pack(tmp_path / "foreign", [])
    onnx.save(constant([7], [np.zeros(3)]), str(pack / "style.onnx"))
    with pytest.raises(DataError, match=r"style\.onnx is no model of insightface"):
        InsightFace(str(pack), side=SIDE)


def test_insightface_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(PluginError, match="pip install --force-reinstall insightface"):
        InsightFace(str(write_pack(tmp_path, [])))


@pytest.mark.parametrize(
    ("options", "said_so"),
    [
        ({"score": 0}, "option score = 0 must be above 0 and at most 1"),
        ({"side": -1}, "option side = -1 must be at least 0"),
        ({"side": 100}, "insightface: side=100 must be a multiple of 32"),
        ({"face": "best"}, "option face = 'best' must be one of"),
    ],
)
def test_wrong_options_are_reported(tmp_path: Path, options, said_so):
    with pytest.raises(ConfigError, match=said_so):
        EXTRACTORS.build(Spec("insightface", {"pack": str(tmp_path), **options}))
