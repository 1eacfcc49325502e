"""The fusion base class: heads, stacking, projections, and one wrapped error for any failure."""

import re
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusionkit.contracts import Batch, FusionOutput, StackedFusion
from fusionkit.contracts.fusion import Fusion, Views
from fusionkit.errors import ConfigError, PluginError
from fusionkit.registry.options import check_options

DIMS = {"face": 5, "eye": 3}
C = 4
VIEWS = {"face": torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), "eye": torch.ones(6, 3)}


class Joined(Fusion):
    """Both views beside each other."""

    def fuse(self, views: Views, present: Views) -> Tensor:
        return torch.cat([views["face"], views["eye"] * present["eye"][:, None]], 1)


class Given(Fusion):
    """Returns a given result, or calls a given function."""

    def __init__(self, result: Any, **more: Any) -> None:
        super().__init__(DIMS, C)
        self.result = result

    def fuse(self, views: Views, present: Views) -> Any:
        return self.result(views) if callable(self.result) else self.result


class Sum(StackedFusion):
    """The sum of the views that are there."""

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return (views * present[..., None]).sum(1)


def numpy_of(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def test_an_embedding_gets_a_linear_head() -> None:
    fusion = Joined(DIMS, C)
    with pytest.raises(PluginError, match=r"has no head yet \(call attach_head\(\) first\)"):
        fusion(VIEWS)
    fusion.attach_head()
    assert isinstance(fusion.head, nn.Linear)
    output = fusion(VIEWS)
    joined = np.concatenate([numpy_of(VIEWS["face"]), np.ones((6, 3))], 1)
    np.testing.assert_allclose(numpy_of(output.embedding), joined, rtol=1e-6)
    wanted = joined @ numpy_of(fusion.head.weight).T + numpy_of(fusion.head.bias)
    np.testing.assert_allclose(numpy_of(output.logits), wanted, rtol=1e-5, atol=1e-6)


def test_presence_is_passed_on() -> None:
    fusion = Joined(DIMS, C)
    fusion.attach_head()
    here = torch.tensor([True, False] * 3)
    output = fusion(VIEWS, {"face": torch.ones(6, dtype=torch.bool), "eye": here})
    assert output.embedding[:, 5:].sum(1).tolist() == [3, 0] * 3


def test_logits_get_no_head() -> None:
    fusion = Given(lambda views: FusionOutput(logits=views["face"][:, :C]))
    fusion.attach_head()
    assert fusion.head is None
    np.testing.assert_array_equal(numpy_of(fusion(VIEWS).logits), numpy_of(VIEWS["face"][:, :C]))


def test_attaching_a_head_leaves_mode_and_random_state_alone() -> None:
    class Noisy(Joined):
        def fuse(self, views: Views, present: Views) -> Tensor:
            assert not self.training
            return super().fuse(views, present) + torch.randn(1)

    weights = []
    for kind in (Joined, Noisy):
        fusion = kind(DIMS, C)
        torch.manual_seed(3)
        fusion.attach_head()
        assert fusion.training
        weights.append(fusion.head.weight.detach())  # type: ignore[union-attr]
    assert torch.equal(*weights)


def test_the_loss_is_cross_entropy_on_the_logits() -> None:
    logits, target = VIEWS["face"][:, :C], torch.tensor([0, 1, 2, 3, 0, 1])
    loss = Joined(DIMS, C).loss(FusionOutput(logits=logits), target)
    x = numpy_of(logits)
    wanted = np.mean([np.log(np.exp(row).sum()) - row[t] for row, t in zip(x, target.tolist(), strict=True)])
    assert float(loss) == pytest.approx(wanted, rel=1e-6)


def test_main_and_auxiliary_views_are_named() -> None:
    fusion = Joined({"eye": 3, "face": 5, "a": 1}, C)
    assert (fusion.main, fusion.auxiliary) == ("eye", ("face", "a"))


WHERE = r"fusion Given on views face \(6, 5\), eye \(6, 3\)"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.zeros(5, 2), r"gave an embedding of shape \(5, 2\); expected \(6, out_dim\)"),
        (torch.zeros(6), r"gave an embedding of shape \(6,\); expected \(6, out_dim\)"),
        (torch.zeros(6, 2, 2), r"gave an embedding of shape \(6, 2, 2\)"),
        (FusionOutput(logits=torch.zeros(6, 3)), r"gave logits of shape \(6, 3\); expected \(6, 4\)"),
        (FusionOutput(logits=torch.zeros(5, C)), r"gave logits of shape \(5, 4\); expected \(6, 4\)"),
        (FusionOutput(embedding=np.zeros((6, 2))), "gave an embedding of type ndarray, not a tensor"),
        (FusionOutput(), "gave neither an embedding nor logits"),
        (np.zeros((6, 2)), "gave ndarray, not a tensor or a FusionOutput"),
        (None, "gave NoneType, not a tensor or a FusionOutput"),
        (lambda views: views["nose"], "failed: KeyError: 'nose'"),
        (
            lambda views: views["face"] @ views["eye"],
            r"failed: RuntimeError: (mm: )?mat1 and mat2 shapes cannot be multiplied",
        ),
        (lambda _: 1 / 0, "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_any_failure_is_reported_once_with_views_and_shapes(result: Any, message: str) -> None:
    with pytest.raises(PluginError, match=f"^{WHERE} {message}") as refused:
        Given(result)(VIEWS)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count("on views") == 1
    assert (refused.value.__cause__ is not None) == ("failed" in message)


def test_a_fusion_that_fails_is_found_when_its_head_is_attached() -> None:
    with pytest.raises(PluginError, match=r"fusion Given on views face \(2, 5\), eye \(2, 3\) failed: KeyError"):
        Given(lambda views: views["nose"]).attach_head()


def test_views_come_in_the_order_of_in_dims_whatever_the_caller_gives() -> None:
    orders: list[tuple[list[str], list[str]]] = []

    class Ordered(Fusion):
        def fuse(self, views: Views, present: Views) -> Tensor:
            orders.append((list(views), list(present)))
            return torch.cat(list(views.values()), 1)

    fusion = Ordered(DIMS, C)
    fusion.attach_head()
    there = torch.ones(6, dtype=torch.bool)
    straight = fusion(VIEWS, {"face": there, "eye": there})
    turned = fusion({"eye": VIEWS["eye"], "face": VIEWS["face"]}, {"eye": there, "face": there})
    torch.testing.assert_close(turned.logits, straight.logits, rtol=0, atol=0)
    assert orders == [(["face", "eye"], ["face", "eye"])] * 3


@pytest.mark.parametrize(
    ("names", "found"),
    [(["face"], "face"), (["face", "eye", "nose"], "face, eye, nose"), (["face", "nose"], "face, nose")],
)
def test_other_views_than_it_was_built_for_are_named(names: list[str], found: str) -> None:
    fusion = Joined(DIMS, C)
    fusion.attach_head()
    with pytest.raises(PluginError, match=f"^fusion Joined got views of {found}; expected face, eye$"):
        fusion({name: torch.zeros(6, 3) for name in names})


@pytest.mark.parametrize(
    ("least", "most", "refused", "takes"),
    [
        (2, 2, {1, 3, 4}, "2 views"),
        (1, 1, {2, 3, 4}, "1 view"),
        (2, None, {1}, "2 or more views"),
        (2, 3, {1, 4}, "2 to 3 views"),
    ],
)
def test_a_fusion_declares_how_many_views_it_takes(least: int, most: int | None, refused: set[int], takes: str) -> None:
    class Few(Sum):
        min_views, max_views = least, most

    for count in (1, 2, 3, 4):
        names = ["face", "eye", "nose", "mouth"][:count]
        if count not in refused:
            Few(dict.fromkeys(names, 3), C).attach_head()
            continue
        text = f"Few takes {takes}, not {count} ({', '.join(names)})"
        with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
            Few(dict.fromkeys(names, 3), C)


def test_views_of_equal_width_are_stacked_without_projection() -> None:
    fusion = Sum({"face": 3, "eye": 3}, C)
    assert fusion.project is None
    assert fusion.width == 3
    views = {"face": torch.randn(6, 3), "eye": torch.randn(6, 3)}
    present = {"face": torch.ones(6, dtype=torch.bool), "eye": torch.tensor([True, False] * 3)}
    got = numpy_of(fusion.fuse(views, present))
    wanted = numpy_of(views["face"]) + numpy_of(views["eye"]) * np.array([[1], [0]] * 3)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize(("dims", "width", "wide"), [(DIMS, None, 5), (DIMS, 2, 2), ({"face": 3, "eye": 3}, 3, 3)])
def test_views_are_projected_to_one_width(dims: dict[str, int], width: int | None, wide: int) -> None:
    fusion = Sum(dims, C, width=width)
    assert fusion.project is not None
    views = {name: torch.randn(6, dim) for name, dim in dims.items()}
    wanted = sum(
        numpy_of(views[name]) @ numpy_of(layer.weight).T + numpy_of(layer.bias)  # type: ignore[arg-type]
        for name, layer in zip(dims, fusion.project, strict=True)
    )
    fusion.attach_head()
    output = fusion(dict(reversed(views.items())))  # order comes from in_dims, not from the batch
    assert output.embedding.shape == (6, wide)
    np.testing.assert_allclose(numpy_of(output.embedding), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [0, -3])
def test_a_width_below_one_is_refused(width: int) -> None:
    assert check_options(Sum, {"width": width}) == [f"option width = {width} must be at least 1"]


def test_tokens_reach_a_fusion_that_needs_them() -> None:
    class Tokens(Given):
        needs = "tokens"

    fusion = Tokens(lambda views: views["face"].mean(1) + views["eye"].sum((1, 2))[:, None])
    fusion.token_count = 7
    fusion.attach_head()
    assert fusion.head.in_features == 5  # type: ignore[union-attr]


class Maps(Fusion):
    """Needs maps; keeps what it gets."""

    needs = "map"
    given: ClassVar[list[Any]] = []

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        Maps.given.append(views)
        return torch.cat([views[name].amax((2, 3)) for name in self.in_dims], 1)

    def loss(self, output: FusionOutput, batch: Batch, /) -> Tensor:
        Maps.given.append(batch.views)
        return output.logits.sum()  # type: ignore[union-attr]


def test_maps_reach_fusion_and_loss_with_channels_before_their_grid() -> None:
    fusion = Maps({"face": 5, "eye": 2}, 3)
    fusion.attach_head()
    views = {"face": torch.randn(4, 7, 6, 5), "eye": torch.randn(4, 1, 2, 2)}
    present, row = dict.fromkeys(views, torch.ones(4, dtype=torch.bool)), torch.arange(4)
    Maps.given.clear()
    output = fusion(views, present)
    fusion.training_loss(output, Batch(views, present, row, row, row, row, 1))
    for given in Maps.given:
        assert [tuple(value.shape) for value in given.values()] == [(4, 5, 7, 6), (4, 2, 1, 2)]
        assert torch.equal(given["face"][1, 3, 4, 2], views["face"][1, 4, 2, 3])
    torch.testing.assert_close(output.embedding[:, :5], views["face"].amax((1, 2)), rtol=0, atol=0)
    assert "face (4, 5, 7, 6)" in fusion._on(views)
