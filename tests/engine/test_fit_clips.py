"""A fusion over time learns from windows of clips, and predicts each frame once, with frames of its own clip alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_components import registered, toy_house  # noqa: F401
from toy_features import made
from toy_tasks import expression

from fusionkit.config.recipe import Recipe
from fusionkit.contracts import Batch, ClipFusion, FusionOutput
from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, FoldRows
from fusionkit.engine.fit import Head, fit
from fusionkit.engine.restore import check_restored_fusion
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


class Course(ClipFusion):
    """The frame, and the mean of the frames of the window so far, each divided by one plus its age in frames."""

    causal = True
    batches: ClassVar[list[Batch]] = []
    shapes: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, in_dims: dict[str, int], num_classes: int, window: int = 4, causal: bool = True) -> None:
        super().__init__(in_dims, num_classes)
        self.window, self.causal = window, causal

    def fuse_clip(self, views: dict[str, Tensor], present: dict[str, Tensor], number: Tensor, mask: Tensor) -> Tensor:
        Course.shapes.append(tuple(mask.shape))
        frame = torch.cat([views[name] for name in self.in_dims], 2)
        age = number[:, :, None] - number[:, None, :]
        visible = mask[:, None, :] & (age >= 0) if self.causal else mask[:, None, :]
        weights = visible / (1 + age.abs())
        return torch.cat([frame, weights @ frame], 2)

    def loss(self, output: FusionOutput, batch: Batch, /) -> Tensor:
        Course.batches.append(batch)
        return super().loss(output, batch.target)


def trained(features: FoldFeatures, rows: FoldRows, causal: bool, recipe: Recipe, window: int = 4) -> Head:
    Course.batches.clear()
    Course.shapes.clear()
    spec = Spec("toy-course", {"window": window, "causal": causal})
    with registered(FUSIONS, "toy-course", Course):
        head = fit(features, rows, expression(3), spec, recipe, 0, "cpu")
        check_restored_fusion(spec, head, features.dev, rows.timeline(rows.dev), features.widths, 0, "cpu")
    return head


def by_hand(head: Head, part: FeaturesInMemory, rows: np.ndarray, fold: FoldRows, causal: bool) -> np.ndarray:
    """Logits frame by frame, each from its window of four; the windows as the contract describes them."""
    x = np.hstack([part.views["face"], part.views["eye"]]).astype(float)
    seen, clip, number = part.seen, fold.clip[rows], fold.number[rows]
    weight, bias = head.state["fusion.head.weight"], head.state["fusion.head.bias"]
    out = np.full((len(rows), 3), np.nan)
    for row in np.flatnonzero(seen):
        own = np.flatnonzero(seen & (clip == clip[row]))  # frames of the clip that have a view
        at = int(np.flatnonzero(own == row)[0])
        # Causal windows start every two frames, and predict the last two; others predict their second and third.
        start = max(0, (at - 2) // 2 * 2) if causal else max(0, (at - 1) // 2 * 2)
        if not causal and start > 0 and start + 2 >= len(own):  # the window before already reaches the last frame
            start -= 2
        stop = at + 1 if causal else start + 4
        total = 0.0
        for other in own[start:stop]:
            total = total + x[other] / (1 + abs(number[row] - number[other]))
        out[row] = weight @ np.concatenate([x[row], total]) + bias
    return out


@pytest.mark.parametrize("causal", [True, False])
def test_logits_equal_a_loop_over_the_windows_of_each_frame(causal: bool) -> None:
    features, rows = made(missing=0.4)
    head = trained(features, rows, causal, Recipe(epochs=3, lr=0.02))
    assert (~features.dev.seen).any()
    for part, logits, chosen in (
        (features.dev, head.dev_logits, rows.dev),
        (features.test, head.test_logits, rows.test),
    ):
        np.testing.assert_allclose(logits, by_hand(head, part, chosen, rows, causal), atol=1e-4)


def test_each_training_frame_is_in_one_window_an_epoch_beside_frames_of_its_clip() -> None:
    features, rows = made(missing=0.2)
    head = trained(features, rows, True, Recipe(epochs=2, patience=0, batch_size=32))
    assert head.steps == len(Course.batches)
    for epoch in (1, 2):
        batches = [batch for batch in Course.batches if batch.epoch == epoch]
        row = np.concatenate([batch.row.numpy() for batch in batches])
        assert sorted(row) == np.flatnonzero(features.train.seen).tolist()
        assert all(32 <= len(batch.row) < 36 for batch in batches[:-1])
    orders = [[batch.row.tolist() for batch in Course.batches if batch.epoch == epoch] for epoch in (1, 2)]
    assert orders[0] != orders[1]
    for batch in Course.batches:
        np.testing.assert_array_equal(batch.target.numpy(), rows.train_label[batch.row.numpy()])
        np.testing.assert_array_equal(batch.clip.numpy(), rows.clip[batch.row.numpy()])
    assert max(shape[1] for shape in Course.shapes) == 4


def test_a_clip_learns_from_its_neighbours_what_single_frames_do_not_tell() -> None:
    """The label is that of the first frame of each clip, in which alone the features tell it."""
    features, rows = made(missing=0.0, spread=0.3)
    first = {
        part: np.repeat(np.arange(len(chosen))[::10], 10)
        for part, chosen in vars(rows).items()
        if part in ("train", "dev")
    }
    rows.train_label[:] = rows.train_label[first["train"]]
    rows.dev_label[:] = rows.dev_label[first["dev"]]
    for part in (features.train, features.dev):
        for values in part.views.values():
            values[np.arange(len(values)) % 10 > 0] = 0
    over_time = trained(features, rows, True, Recipe(epochs=30, lr=0.02), window=10)
    single = trained(features, rows, True, Recipe(epochs=30, lr=0.02), window=1)
    assert max(over_time.history) > max(single.history) + 0.3


def test_view_heads_and_view_dropout_apply_to_frames_of_windows() -> None:
    features, rows = made()
    recipe = Recipe(epochs=2, view_heads=0.5, gradient_modulation=0.2, view_dropout=0.3)
    head = trained(features, rows, False, recipe)
    assert np.isfinite(head.dev_logits[features.dev.seen]).all()
    assert {"fusion.adapters.0.weight", "fusion.inner.head.weight"} <= head.state.keys()


def test_operations_are_counted_for_each_predicted_frame() -> None:
    features, rows = made()
    causal = trained(features, rows, True, Recipe(epochs=1), window=4).gflops
    # Four frames: products with (4, 4) weights and the head; two of them are predicted.
    assert causal == pytest.approx((2 * 4 * 4 * 7 + 2 * 4 * 14 * 3) / 2 / 1e9)


def test_still_images_are_clips_of_one_frame() -> None:
    features, rows = made(missing=0.0)
    stills: Any = {**vars(rows), "clip": np.arange(510), "number": np.zeros(510, int)}
    trained(features, FoldRows(**stills), True, Recipe(epochs=1))
    assert {shape[1] for shape in Course.shapes if shape[0] > 1} == {1}
