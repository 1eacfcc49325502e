"""A fusion over time gets padded windows, and its outputs are those of the frames, without padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fusionkit.contracts import ClipFusion, FusionOutput
from fusionkit.contracts.fusion import Windows
from fusionkit.errors import PluginError

DIMS = {"face": 3, "eye": 2}
WINDOWS = Windows(torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([4, 5, 9, 1, 7, 8]))


class Keeps(ClipFusion):
    """Keeps what it got; its embedding is the face times the frame number."""

    def fuse_clip(self, views: dict[str, Tensor], present: dict[str, Tensor], number: Tensor, mask: Tensor) -> Any:
        self.given = views, present, number, mask
        return views["face"] * number[..., None] + 100 * (~mask[..., None])


def inputs() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    views = {name: torch.randn(6, dim, generator=generator) for name, dim in DIMS.items()}
    return views, {"face": torch.ones(6, dtype=torch.bool), "eye": torch.tensor([1, 0, 1, 0, 1, 1]).bool()}


def test_frames_are_packed_into_windows_and_outputs_unpacked() -> None:
    model = Keeps(DIMS, 4)
    model.attach_head()
    views, present = inputs()
    output = model(views, present, WINDOWS)
    packed, there, number, mask = model.given
    assert list(packed) == list(there) == ["face", "eye"]
    assert mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert number.tolist() == [[4, 5, 9], [1, 0, 0], [7, 8, 0]]
    assert there["eye"].tolist() == [[True, False, True], [False, False, False], [True, True, False]]
    for name, value in views.items():
        expected = torch.zeros(3, 3, value.shape[1])
        for row, (window, position) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]):
            expected[window, position] = value[row]
        torch.testing.assert_close(packed[name], expected, rtol=0, atol=0)
    joint = views["face"] * WINDOWS.number[:, None]
    torch.testing.assert_close(output.embedding, joint, rtol=0, atol=0)
    torch.testing.assert_close(output.logits, joint @ model.head.weight.T + model.head.bias)


def test_without_windows_each_frame_is_alone() -> None:
    model = Keeps(DIMS, 4)
    model.attach_head()
    model(inputs()[0])
    assert model.given[0]["face"].shape == (6, 1, 3)
    assert model.given[3].all()


class OfOnePerWindow(Keeps):
    def fuse_clip(self, *given: Any) -> Any:
        return super().fuse_clip(*given).mean(1)


class WideLogits(Keeps):
    def fuse_clip(self, *given: Any) -> Any:
        return FusionOutput(logits=super().fuse_clip(*given))


class Unwritten(ClipFusion):
    pass


class HalfAFrame(Keeps):
    window = 2.5  # type: ignore[assignment]


class OfNoFrame(Keeps):
    window = 0


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (OfOnePerWindow, r"OfOnePerWindow on views face \(2, 3\), eye \(2, 2\) failed: .*gave \(2, 3\); expected"),
        (WideLogits, r"WideLogits on views .* gave logits of shape \(2, 3\); expected \(2, 4\)"),
        (HalfAFrame, r"HalfAFrame: window = 2.5 must be a whole number of frames, from 1 up"),
        (OfNoFrame, r"OfNoFrame: window = 0 must be"),
        (Unwritten, r"fuse_clip\(\) is not written"),
    ],
)
def test_wrong_shapes_and_windows_are_named(cls: type[ClipFusion], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        cls(DIMS, 4).attach_head()
