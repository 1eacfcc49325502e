"""A component that writes to its input is stopped and named, and the memory that others read is unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from toy_components import Blobs, Colours, Halves, Plain, Sum

from fusionkit.contracts import CausalSmoother, Fusion
from fusionkit.contracts.extractor import Located
from fusionkit.contracts.inputs import WatchedTensors, read_only
from fusionkit.errors import PluginError

FRAMES = [np.full((24, 24, 3), 100 + row, np.uint8) for row in range(10)]
X, NUMBERS = np.array([[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]]), np.array([4, 9])


class Writing(Fusion):
    """Writes to a view or to a presence mask."""

    def __init__(self, in_dims: dict[str, int], num_classes: int, write: Callable[[Any, Any], object]) -> None:
        super().__init__(in_dims, num_classes)
        self.write = write
        self.head = torch.nn.Linear(sum(in_dims.values()), num_classes)

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        self.write(views, present)
        return torch.cat([views[name] for name in self.in_dims], 1)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda views, _: views["eye"].div_(2), "eye"),
        (lambda views, _: views["eye"][0].zero_(), "eye"),
        (lambda views, _: views["eye"].detach().t().add_(1), "eye"),
        (lambda views, _: torch.nn.functional.relu(views["face"], inplace=True), "face"),
        (lambda views, _: views["eye"].__setitem__((0, 0), 7.0), "eye"),
        (lambda _, present: present["face"].logical_not_(), "presence of face"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_fusion_that_writes_to_a_tensor_is_named(write: Any, named: str, training: bool) -> None:
    fusion = Writing({"face": 3, "eye": 2}, 2, write).train(training)
    views = {"face": torch.randn(5, 3), "eye": torch.randn(5, 2)}
    present = {name: torch.ones(5, dtype=torch.bool) for name in views}
    with torch.no_grad(), pytest.raises(PluginError) as found:
        fusion(views, present)
    assert f"fusion Writing on views face (5, 3), eye (5, 2) changes its input: {named}" in str(found.value)


@pytest.mark.parametrize("write", [lambda view: view.data.div_(2), lambda view: view.numpy().fill(0)])
def test_a_write_that_torch_does_not_count_is_found_when_the_head_is_attached(write: Any) -> None:
    fusion = Writing({"face": 3}, 2, lambda views, _: write(views["face"]))
    with pytest.raises(PluginError, match="changes its input: face"):
        fusion.attach_head()


def test_a_fusion_may_replace_views_in_the_dict_that_it_gets() -> None:
    fusion = Writing({"face": 3}, 2, lambda views, _: views.update(face=views["face"] * 2))
    views = {"face": torch.randn(4, 3)}
    before = views["face"].clone()
    fusion(views)
    assert torch.equal(views["face"], before)


def test_a_fusion_that_does_not_write_is_not_refused_in_inference_mode() -> None:
    fusion = Sum({"face": 3, "eye": 3}, 2)
    fusion.attach_head()
    with torch.inference_mode():
        assert fusion({"face": torch.ones(2, 3), "eye": torch.ones(2, 3)}).logits.shape == (2, 2)


def test_watched_tensors_compare_their_content_if_asked() -> None:
    value = torch.zeros(3)
    by_count, by_content = WatchedTensors({"a": value}), WatchedTensors({"a": value}, content=True)
    assert by_count.changed() == by_content.changed() == []
    value.data.add_(1)
    assert by_count.changed() == []
    assert by_content.changed() == ["a"]


def test_a_read_only_view_leaves_the_array_itself_writeable() -> None:
    array = np.zeros(3)
    with pytest.raises(ValueError, match="read-only"):
        read_only(array)[0] = 1
    array[0] = 1
    assert read_only(array).tolist() == [1, 0, 0]


class Drawing(Halves):
    """Draws into the first frame as OpenCV does, after NumPy or through PyTorch."""

    def __init__(self, how: str) -> None:
        self.how = how

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        if self.how == "numpy":
            frames[0][0, 0] = 0
        elif self.how == "opencv":
            cv2.rectangle(frames[0], (0, 0), (5, 5), 0)
        else:
            for frame in frames:
                torch.from_numpy(frame).zero_()
        return super().locate(frames)


@pytest.mark.parametrize("how", ["numpy", "opencv"])
def test_frames_of_an_extractor_are_read_only(how: str) -> None:
    before = [frame.copy() for frame in FRAMES]
    with pytest.raises(PluginError, match="extractor Drawing on 10 frame") as found:
        Drawing(how)(FRAMES)
    assert "write to a copy" in str(found.value)
    np.testing.assert_array_equal(FRAMES, before)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_an_extractor_that_writes_past_the_flag_is_named() -> None:
    with pytest.raises(PluginError, match=r"extractor Drawing on 10 frame.* changes its input: a frame"):
        Drawing("torch")([frame.copy() for frame in FRAMES])


def test_a_backbone_that_writes_to_its_views_is_named() -> None:
    class Centred(Colours):
        def embed(self, views: np.ndarray) -> np.ndarray:
            np.subtract(views, 10, out=views)
            return super().embed(views)

    with pytest.raises(PluginError, match="backbone Centred changes its input"):
        Centred()(np.full((4, 8, 8, 3), 90, np.uint8))


@pytest.mark.parametrize("written", ["x", "frame_numbers"])
def test_a_smoother_gets_read_only_arrays(written: str) -> None:
    class Sorting(Plain):
        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            {"x": x, "frame_numbers": frame_numbers}[written].sort(axis=0)
            return x

    before = X.copy(), NUMBERS.copy()
    with pytest.raises(PluginError, match=r"smoother Sorting failed: ValueError: .*read-only.*write to a copy"):
        Sorting()(X, NUMBERS)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(NUMBERS, before[1])


def test_a_stream_passes_a_read_only_row() -> None:
    class Halving(CausalSmoother):
        def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
            x /= 2
            return x, None

    with pytest.raises(PluginError, match=r"smoother Halving failed: .*read-only"):
        Halving().stream()(X[0], 4)
    assert X[0].tolist() == [0.2, 0.3, 0.5]


def test_a_data_set_gets_read_only_rows_and_its_table_is_read_only_for_others() -> None:
    class Shifting(Blobs):
        def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
            rows += 1
            return super().read(rows)

    rows = np.array([1, 2])
    with pytest.raises(PluginError, match=r"data set Shifting failed: .*read-only"):
        Shifting().images(rows)
    assert rows.tolist() == [1, 2]
    table = Blobs().table()
    with pytest.raises(ValueError, match="read-only"):
        table.label[0] = 0
