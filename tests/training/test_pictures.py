from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from tiny_training import patches_by_hand, picture, tiny_run

from fusionkit.training import pictures
from fusionkit.training.images import Images
from fusionkit.training.pictures import Faces, loss_curve
from fusionkit.training.pretrain import build_model


class Pictures(Images):
    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 9

    def read(self, index: int) -> np.ndarray | None:
        return None if index in self.bad else picture(index, side=16)

    def where(self, index: int) -> str:
        return str(index)

    @property
    def fingerprint(self) -> str:
        return ""


def test_a_sheet_shows_visible_patches_predictions_and_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = []
    monkeypatch.setattr(pictures, "_sheet", lambda titles, columns: sheets.append((titles, columns)) or b"png")
    model = build_model(tiny_run("synthetic"))
    faces = Faces(Pictures(), 3, model, seed=0)
    assert faces.drawn(model) == b"png"
    (titles, (masked, made, original)) = sheets[0]
    assert titles == ("masked", "reconstructed", "original")
    for face, number in enumerate((0, 4, 8)):
        np.testing.assert_allclose(original[face], picture(number, side=16) / 255, atol=1e-5)
    cut = [patches_by_hand(sheet.transpose(0, 3, 1, 2), 4) for sheet in (masked, made, original)]
    visible = np.zeros((3, 16), bool)
    np.put_along_axis(visible, faces.orders.numpy()[:, :4], True, 1)
    np.testing.assert_allclose(cut[0][visible], cut[2][visible])
    np.testing.assert_allclose(cut[1][visible], cut[2][visible])
    assert (cut[0][~visible] == 0.5).all()
    assert np.abs(cut[1][~visible] - cut[2][~visible]).max() > 0.05  # an untrained model guesses badly
    with torch.no_grad():
        images = model.normalized(faces.pixels)
        drawn = model.drawn(model.predict(images, faces.orders), images).numpy().reshape(3, 16, 16, 3)
    expected = np.clip(drawn * model.std.numpy().ravel() + model.mean.numpy().ravel(), 0, 1).reshape(3, 16, 48)
    np.testing.assert_allclose(cut[1][~visible], expected[~visible], atol=1e-5)


def test_unreadable_faces_are_left_out() -> None:
    model = build_model(tiny_run("synthetic"))
    assert len(Faces(Pictures(bad=(4,)), 3, model, seed=0).pixels) == 2
    assert Faces(Pictures(bad=tuple(range(9))), 3, model, 0).drawn(model) is None


@pytest.mark.slow
def test_pictures_are_png() -> None:
    model = build_model(tiny_run("synthetic"))
    sheet = Faces(Pictures(), 2, model, seed=0).drawn(model)
    for data in (sheet, loss_curve([3.0, 2.0, 1.0], 2)):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert min(image.shape[:2]) > 100
        assert image.std() > 5


def test_the_curve_shows_each_step_and_the_mean_of_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(pictures, "png", lambda figure: figures.append(figure) or b"")
    loss_curve([5.0, 3.0, 2.0, 4.0, 1.0], steps_per_epoch=2)
    steps, epochs = figures[0].axes[0].lines
    assert steps.get_xydata().tolist() == [[1, 5], [2, 3], [3, 2], [4, 4], [5, 1]]
    assert epochs.get_xydata().tolist() == [[1.5, 4], [3.5, 3], [5, 1]]
