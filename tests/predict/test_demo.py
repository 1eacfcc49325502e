"""The local page: what it computes, what it serves, and what a browser does with it."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import refusal_of
from toy_components import Blobs, carry_out, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit import api
from fusionkit.errors import ConfigError
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.predict.demo.face_model import FaceModel, cover
from fusionkit.predict.demo.page import DemoPage, LiveState
from fusionkit.predict.predictor import Predictor

pytestmark = [
    pytest.mark.usefixtures("toy_house"),
    # Gradio leaves an event loop and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
CHROMIUM = shutil.which("chromium")


@pytest.fixture(autouse=True)
def without_leftovers_of_gradio() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def run(tmp_path: Path, toy_house: None) -> Path:  # noqa: F811
    smoothers = ["none", "exponential:half_life=2", "toy-box:width=3"]
    carry_out(toy_plan(seeds=2, reference="none", smoothers=smoothers), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def predictor(run: Path) -> Predictor:
    return fusionkit.load(run, "toy-sum/none")


@pytest.fixture
def page(predictor: Predictor) -> Iterator[DemoPage]:
    pytest.importorskip("gradio", reason="the page needs the extra demo")
    page = DemoPage(predictor, DetectionOptions())
    yield page
    page.close()


def faces() -> list[np.ndarray]:
    return [frame for frame in Blobs().images(np.arange(8)) if frame is not None]


def test_a_rotated_box_is_painted_in_the_mean_colour() -> None:
    face = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    boxes = {
        "upright": np.array([10, 8, 8, 4, 0.0]),
        "turned": np.array([28, 28, 10, 4, 90.0]),
        "lost": np.full(5, np.nan),
    }
    painted = cover(face, boxes, ["upright", "turned", "lost", "unknown"])
    colour = np.rint(face.mean((0, 1)))
    assert (painted[7:9, 7:13] == colour).all()
    assert (painted[24:32, 27:29] == colour).all()
    changed = (painted != face).any(2)
    assert not changed[:5].any()
    assert not changed[12:22].any()
    assert changed.sum() <= 9 * 5 + 11 * 5


def test_predictions_are_those_of_the_cell_and_covering_is_painting(predictor: Predictor) -> None:
    model = FaceModel(predictor, DetectionOptions())
    face = model.find(faces()[1])
    assert face is not None
    seen = model.predict(face)
    np.testing.assert_allclose(seen.probs, predictor.predict_proba([face])[0], rtol=1e-6)
    assert list(seen.views) == list(predictor.views)
    assert all(view is not None for view in seen.views.values())
    effects = model.effects(seen)
    assert list(effects) == list(seen.boxes)
    for region, covered in effects.items():
        painted = cover(face, seen.boxes, [region])
        np.testing.assert_array_equal(covered.face, painted)
        np.testing.assert_allclose(covered.probs, predictor.predict_proba([painted])[0], rtol=1e-6)
    assert any(np.abs(covered.probs - seen.probs).max() > 1e-3 for covered in effects.values())


@pytest.mark.parametrize("smoother", ["exponential", "toy-box"])
def test_the_webcam_is_smoothed_by_a_causal_smoother_only(run: Path, smoother: str) -> None:
    predictor = fusionkit.load(run, f"toy-sum/{smoother}")
    live = FaceModel(predictor, DetectionOptions()).live()
    found = [live(face, number).probs for number, face in enumerate(faces(), 1)]
    causal = smoother == "exponential"
    stream = predictor.stream() if causal else lambda face: predictor.predict_proba([face])[0]
    for face, probs in zip(faces(), found, strict=True):
        expected = stream(face)
        assert (probs is None) == (expected is None)
        if probs is not None:
            np.testing.assert_allclose(probs, expected, rtol=1e-5)


def test_the_page_shows_faces_and_is_served_to_this_machine_only(page: DemoPage, predictor: Predictor) -> None:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    assert page.url.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    with socket.socket() as other:  # Linux has all of 127.0.0.0/8; a server on every address would answer here too
        assert other.connect_ex(("127.0.0.2", port))
    face, views, regions, whole, _, effects, message = page.show_photo(faces()[1], [])
    assert face.shape[1] == 448
    assert [name for _, name in views] == list(predictor.views)
    probs = predictor.predict_proba([faces()[1]])[0]
    assert whole == pytest.approx(dict(zip(predictor.classes, probs, strict=True)))
    top = predictor.classes[int(probs.argmax())]
    assert effects["data"][0] == ["nothing", top, f"{probs.max():.2f}", ""]
    assert [row[0] for row in effects["data"][1:]] == [name for name, _ in regions.choices]
    assert message == ""
    assert "must be an aligned face" in page._about()
    state: LiveState | None = None
    for frame in faces():
        *_, course, state = page.show_live(frame, state)
    assert set(course.frame) == {number for number, _ in state.history}
    assert course.probability.sum() == pytest.approx(len(state.history))
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    assert folder.is_dir()
    page.close()
    assert not folder.exists()


def test_a_port_in_use_and_a_missing_library_are_refused(
    run: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "gradio" in sys.modules:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use"):
                DemoPage(predictor, DetectionOptions(), port)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'fusionkit[demo]'" in refusal_of("demo", str(run), "--cell", "toy-sum/none")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_shows_a_photo_and_asks_no_other_machine(page: DemoPage, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    cv2.imwrite(str(tmp_path / "face.png"), faces()[1][..., ::-1])
    hosts: set[str] = set()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "//" in request.url else None)
        tab.goto(page.url)
        tab.wait_for_selector("text=Photo")
        tab.set_input_files("input[type=file] >> nth=0", str(tmp_path / "face.png"))
        tab.wait_for_selector("input[type=checkbox][name=bottom]")
        tab.check("input[type=checkbox][name=bottom]")
        tab.wait_for_selector("text=prediction with the regions covered >> visible=true")
        browser.close()
    assert hosts == {page.url.split("/")[2]}


def test_the_page_is_part_of_the_python_interface(run: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs the extra demo")
    page = api.demo(run, "toy-sum/none")
    page.close()
    assert page.classes == list(fusionkit.load(run, "toy-sum/none").classes)
