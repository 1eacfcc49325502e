"""A head is trained to the optimum of its recipe, reproducibly, and errors are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional
from toy_components import Forest, Recorder, registered, toy_house  # noqa: F401
from toy_features import made
from toy_tasks import criterion, expression

from fusionkit.config.recipe import Recipe
from fusionkit.contracts import LossOptions
from fusionkit.contracts.fusion import Batch, Fusion, FusionOutput, ParameterGroup
from fusionkit.engine import features as features_module
from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, FoldRows, load_features
from fusionkit.engine.fit import Head, fit, rows_at_once, tokens_needed
from fusionkit.engine.stacked import StackError, fit_stacked
from fusionkit.errors import CellError, PluginError
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit_tasks.expression import Expression

pytestmark = pytest.mark.usefixtures("toy_house")


def trained(fusion: str = "toy-recorder", recipe: Recipe | None = None, seed: int = 0, **data: Any) -> Head:
    features, rows = made(**data)
    return fit(features, rows, expression(3), Spec.parse(fusion), recipe or Recipe(epochs=5, lr=0.02), seed, "cpu")


def side_by_side(part: FeaturesInMemory) -> np.ndarray:
    return np.hstack([part.views["face"], part.views["eye"]])


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["balanced", "none"])
def test_a_linear_head_reaches_the_optimum_of_scikit_learns_logistic_regression(weights: Any) -> None:
    features, rows = made(skew=True)
    recipe = Recipe(epochs=400, lr=0.02, weight_decay=0.0, batch_size=300, patience=0, class_weights=weights)
    head = fit(features, rows, expression(3), Spec("toy-recorder"), recipe, 0, "cpu")
    kept = features.train.seen
    model = LogisticRegression(
        C=np.inf, class_weight=None if weights == "none" else "balanced", max_iter=5000, tol=1e-8
    )
    model.fit(side_by_side(features.train)[kept], rows.train_label[kept])
    seen = features.test.seen
    np.testing.assert_allclose(
        softmax(head.test_logits[seen], axis=1), model.predict_proba(side_by_side(features.test)[seen]), atol=0.01
    )


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    one, again, other = trained(seed=3), trained(seed=3), trained(seed=4)
    for name in ("dev_logits", "test_logits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    for name, value in one.state.items():
        np.testing.assert_array_equal(value, again.state[name])
    assert one.history == again.history
    assert not np.array_equal(one.test_logits, other.test_logits, equal_nan=True)


def test_what_was_drawn_before_does_not_matter_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    one = trained()
    torch.rand(7)
    before = torch.random.get_rng_state()
    two = trained()
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(one.test_logits, two.test_logits)


def test_early_stopping_keeps_the_best_epoch_and_stops_after_patience() -> None:
    features, rows = made()
    head = trained(recipe=Recipe(epochs=60, lr=0.05, patience=3))
    assert head.best_epoch == int(np.argmax(head.history)) + 1
    assert len(head.history) == min(head.best_epoch + 3, 60) < 60
    known = (rows.dev_label >= 0) & features.dev.seen
    kept = f1_score(rows.dev_label[known], head.dev_logits[known].argmax(1), average="macro")
    assert kept == pytest.approx(max(head.history))


def test_the_kept_epoch_equals_a_run_that_ends_there() -> None:
    long = trained(recipe=Recipe(epochs=60, lr=0.05, patience=3))
    short = trained(recipe=Recipe(epochs=long.best_epoch, lr=0.05, patience=0))
    np.testing.assert_array_equal(long.test_logits, short.test_logits)


def test_without_patience_the_last_epoch_is_kept() -> None:
    head = trained(recipe=Recipe(epochs=7, lr=0.05, patience=0))
    assert head.best_epoch == len(head.history) == 7


def test_class_weights_equal_scikit_learns() -> None:
    target = np.random.default_rng(0).choice(4, 200, p=[0.7, 0.2, 0.06, 0.04])
    loss = criterion(Recipe(), torch.from_numpy(target), 4)
    weights = compute_class_weight("balanced", classes=np.arange(4), y=target)
    logits, truth = np.random.default_rng(1).normal(size=(50, 4)), target[:50]
    picked = -np.log(softmax(logits, axis=1)[np.arange(50), truth])
    expected = (weights[truth] * picked).sum() / weights[truth].sum()
    assert loss(torch.from_numpy(logits).float(), torch.from_numpy(truth)).item() == pytest.approx(expected, rel=1e-5)
    plain = criterion(Recipe(class_weights="none"), torch.from_numpy(target), 4)
    assert plain(torch.from_numpy(logits).float(), torch.from_numpy(truth)).item() == pytest.approx(
        picked.mean(), rel=1e-5
    )


def test_frames_without_any_view_are_not_trained_on_and_have_nan_logits() -> None:
    features, _ = made(missing=0.3)
    head = trained(missing=0.3, recipe=Recipe(epochs=2))
    for part, logits in ((features.dev, head.dev_logits), (features.test, head.test_logits)):
        np.testing.assert_array_equal(np.isnan(logits).all(1), ~part.seen)
        np.testing.assert_array_equal(np.isnan(logits).any(1), ~part.seen)
    assert (~features.test.seen).any()
    np.testing.assert_array_equal(head.test_complete, features.test.present["face"] & features.test.present["eye"])
    targets = [item for item in Recorder.given if isinstance(item, Tensor)]
    assert sum(len(target) for target in targets) == 2 * features.train.seen.sum()


def test_every_training_frame_is_visited_once_an_epoch() -> None:
    features, _ = made(missing=0.0)
    trained(missing=0.0, recipe=Recipe(epochs=1, batch_size=100))
    batches = [item[0]["face"] for item in Recorder.given if isinstance(item, tuple) and len(item[0]["face"]) == 100]
    visited = np.concatenate([batch.numpy() for batch in batches])
    assert sorted(map(tuple, visited.tolist())) == sorted(map(tuple, features.train.views["face"].tolist()))


@pytest.mark.parametrize(("batch", "size"), [("auto", 15), (100, 100)])
def test_steps_are_the_batches_of_all_epochs(batch: Any, size: int) -> None:
    head = trained(missing=0.0, recipe=Recipe(epochs=3, batch_size=batch, patience=0))
    targets = [len(item) for item in Recorder.given if isinstance(item, Tensor)]
    assert targets == [size] * (3 * 300 // size)  # 300 training frames: 20 batches of 15
    assert head.steps == len(targets)


def test_a_last_batch_of_one_row_is_left_out() -> None:
    class Normed(Fusion):
        """Batch normalisation refuses a single row."""

        def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
            super().__init__(in_dims, num_classes)
            self.norm = torch.nn.BatchNorm1d(in_dims["face"])

        def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
            return self.norm(views["face"])

    with registered(FUSIONS, "toy-normed", Normed):
        head = trained("toy-normed", recipe=Recipe(epochs=1, batch_size=299), missing=0.0)
    assert np.isfinite(head.test_logits).all()


class TwoPaces(Recorder):
    """Two layers with their own learning rate, decay and epochs; its loss keeps the batches."""

    batches: ClassVar[list[Batch]] = []

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.slow, self.late = torch.nn.Linear(7, 7), torch.nn.Linear(7, 7)
        self.seen: list[list[Tensor]] = []

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return self.late(self.slow(super().fuse(views, present)))

    def loss(self, output: FusionOutput, batch: Batch, /) -> Tensor:
        TwoPaces.batches.append(batch)
        return super().loss(output, batch.target)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup(list(self.slow.parameters()), lr=0.5, weight_decay=0.0),
            ParameterGroup(list(self.late.parameters()), first_epoch=2, last_epoch=2),
        ]


def by_plain_torch(features: FoldFeatures, batches: list[Batch], recipe: Recipe, order: np.ndarray) -> dict[str, Any]:
    """Train the layers of TwoPaces on the batches that it got, each group by an optimiser of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        slow, late, head = torch.nn.Linear(7, 7), torch.nn.Linear(7, 7), torch.nn.Linear(7, 3)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    adam = torch.optim.AdamW
    optimizers = {
        "slow": adam(slow.parameters(), lr=0.5 * recipe.lr, weight_decay=0.0),
        "late": adam(late.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay),
        "head": adam(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay),
    }
    loss = criterion(recipe, torch.from_numpy(order), 3)
    for batch in batches:
        for layer in (slow, late, head):
            layer.zero_grad()
        x = torch.cat([batch.views["face"], batch.views["eye"]], 1)
        loss(head(late(slow(x))), batch.target).backward()
        for name, optimizer in optimizers.items():
            if name != "late" or batch.epoch == 2:
                optimizer.step()
    return {"fusion.slow.weight": slow.weight, "fusion.late.weight": late.weight, "fusion.head.weight": head.weight}


def test_parameter_groups_have_their_own_rate_decay_and_epochs_and_the_loss_gets_its_batch() -> None:
    TwoPaces.batches.clear()
    features, rows = made()
    recipe = Recipe(epochs=3, lr=0.02, weight_decay=0.3, patience=0)
    with registered(FUSIONS, "toy-two-paces", TwoPaces):
        head = trained("toy-two-paces", recipe)
    kept = features.train.seen
    expected = by_plain_torch(features, TwoPaces.batches, recipe, rows.train_label[kept])
    for name, value in expected.items():
        np.testing.assert_allclose(head.state[name], value.detach().numpy(), rtol=2e-4, atol=2e-6)
    assert [batch.epoch for batch in TwoPaces.batches] == sorted([1, 2, 3] * (head.steps // 3))
    for batch in TwoPaces.batches:
        row = batch.row.numpy()
        np.testing.assert_array_equal(batch.target.numpy(), rows.train_label[row])
        np.testing.assert_array_equal(batch.clip.numpy(), row // 10)
        np.testing.assert_array_equal(batch.number.numpy(), row % 10 + 1)
        np.testing.assert_array_equal(batch.views["face"].numpy(), features.train.take(row).views["face"])
        np.testing.assert_array_equal(batch.present["eye"].numpy(), features.train.present["eye"][row])


class Thaws(Recorder):
    """Its head is trained from the sixth epoch on; until then nothing gets better."""

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.idle = torch.nn.Parameter(torch.ones(1))

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.head.parameters()), first_epoch=6)]

    def loss(self, output: FusionOutput, target: Any, /) -> Tensor:
        return super().loss(output, target) + 0 * self.idle.sum()


def test_early_stopping_waits_for_the_last_parameters_to_thaw() -> None:
    with registered(FUSIONS, "toy-thaws", Thaws):
        head = trained("toy-thaws", recipe=Recipe(epochs=30, lr=0.05, patience=3))
    assert len(set(head.history[:5])) == 1
    assert head.best_epoch >= 6
    assert len(head.history) == min(head.best_epoch + 3, 30)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (lambda model: [model.head.weight], "gave Parameter, not a ParameterGroup"),
        (lambda _model: [ParameterGroup([torch.ones(3)])], "group 1 has a tensor that is no parameter"),
        (lambda model: [ParameterGroup([model.head.weight])] * 2, "group 2 has a parameter that is in another group"),
        (lambda model: [ParameterGroup([model.head.weight], lr=0.0)], r"group 1: lr = 0.0 must be above 0"),
        (lambda model: [ParameterGroup([model.head.weight], weight_decay=-1.0)], r"weight_decay = -1.0"),
        (lambda model: [ParameterGroup([model.head.weight], first_epoch=3, last_epoch=2)], "epochs 3 to 2 are none"),
    ],
)
def test_wrong_parameter_groups_are_refused(groups: Any, message: str) -> None:
    class Grouped(Recorder):
        """Gives these groups."""

        def parameter_groups(self) -> Any:
            return groups(self)

    with registered(FUSIONS, "toy-grouped", Grouped), pytest.raises(PluginError, match=message):
        trained("toy-grouped")


def test_parameters_of_a_loss_are_trained_and_are_no_part_of_the_head() -> None:
    class Tempered(torch.nn.Module):
        """Cross-entropy with class weights, which are a buffer, and a learned temperature."""

        def __init__(self, weight: Tensor) -> None:
            super().__init__()
            self.register_buffer("weight", weight)
            self.log_scale = torch.nn.Parameter(torch.zeros(()))

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            loss: Tensor = functional.cross_entropy(logits * self.log_scale.exp(), target, self.get_buffer("weight"))
            return loss

    class WithModule(Expression):
        """Its loss is a module."""

        def criterion(self, target: Tensor, options: LossOptions) -> Tempered:
            self.loss = Tempered(torch.tensor([1.0, 2.0, 1.0]))
            return self.loss

    features, rows = made(missing=0.0)
    task = WithModule(["a", "b", "c"])
    head = fit(features, rows, task, Spec("toy-recorder"), Recipe(epochs=3), 0, "cpu")
    assert head.state.keys() == trained(missing=0.0, recipe=Recipe(epochs=3)).state.keys()
    assert task.loss.log_scale.item() != 0
    with pytest.raises(StackError, match="its loss has parameters"):
        fit_stacked(features, rows, task, Spec("toy-recorder"), Recipe(epochs=1), [0, 1], "cpu")


def test_parameters_and_flops_are_counted() -> None:
    head = trained()
    assert head.params == 7 * 3 + 3
    assert head.gflops == pytest.approx(2 * 7 * 3 / 1e9)


def test_the_stored_head_gives_its_logits_again() -> None:
    features, _ = made()
    head = trained()
    weight, bias = head.state["fusion.head.weight"], head.state["fusion.head.bias"]
    seen = features.test.seen
    np.testing.assert_allclose(
        head.test_logits[seen], side_by_side(features.test)[seen] @ weight.T + bias, atol=1e-5, rtol=1e-5
    )
    assert {"mean.face", "scale.face", "mean.eye", "scale.eye"} <= set(head.state)


@pytest.mark.parametrize(
    ("fusion", "error", "message"),
    [
        (
            "toy-wrong-shape",
            PluginError,
            r"WrongShape on views face \(2, 4\), eye \(2, 3\) gave.*\(1, 4\); expected \(2,",
        ),
        ("toy-nan", CellError, r"fusion toy-nan: the loss is nan in epoch 1 on views face \(15, 4\), eye \(15, 3\)"),
        (
            "toy-nan-logits",
            CellError,
            r"fusion toy-nan-logits gave logits that are not finite on views face \(120, 4\)",
        ),
        (
            "toy-raises",
            PluginError,
            r"Raises on views face \(15, 4\), eye \(15, 3\) failed: ValueError: gates are shut",
        ),
    ],
)
def test_a_broken_fusion_is_named_with_its_views_and_shapes(fusion: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trained(fusion, missing=0.0)


def test_a_loss_that_explodes_is_an_error() -> None:
    with pytest.raises(CellError, match=r"toy-recorder: the loss is (nan|inf)|not finite"):
        trained(recipe=Recipe(epochs=50, lr=1e38, optimizer="adam"))


def test_without_a_labelled_dev_frame_no_epoch_can_be_selected() -> None:
    features, rows = made()
    for flags in features.dev.present.values():
        flags[:] = False
    with pytest.raises(CellError, match="dev"):
        fit(features, rows, expression(3), Spec("toy-recorder"), Recipe(epochs=2), 0, "cpu")


def test_a_fitted_fusion_equals_scikit_learn_and_gets_training_frames_only() -> None:
    features, rows = made(missing=0.3)
    head = fit(features, rows, expression(3), Spec("toy-forest"), Recipe(), 5, "cpu")
    kept, seen = features.train.seen, features.test.seen
    model = LogisticRegression(max_iter=1000, random_state=5)
    model.fit(side_by_side(features.train)[kept], rows.train_label[kept])
    np.testing.assert_allclose(
        softmax(head.test_logits[seen].astype(np.float64), axis=1),
        model.predict_proba(side_by_side(features.test)[seen]),
        rtol=1e-4,
    )
    assert np.isnan(head.test_logits[~seen]).all()
    views, y, groups, seed = Forest.given[0]
    assert seed == 5
    assert y.tolist() == rows.train_label[kept].tolist()
    assert groups.tolist() == rows.train_unit[kept].tolist()
    assert len(views["face"]) == kept.sum()
    np.testing.assert_array_equal(head.state["fusion.coef"], model.coef_)
    assert head.params == model.coef_.size + model.intercept_.size
    assert (head.gflops, head.history, head.best_epoch, head.steps) == (0.0, [], 0, 0)


class TooWide(Forest):
    """One class too many."""

    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        probs = super().predict_proba(views)
        return np.hstack([probs, probs[:, :1]])


class Unsure(Forest):
    """Not a number."""

    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        return super().predict_proba(views) * np.nan


class Shut(Forest):
    """Raises."""

    def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        raise ValueError("gates are shut")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (TooWide, r"toy-broken gave \(120, 4\); expected \(120, 3\)"),
        (Unsure, r"toy-broken gave logits that are not finite on views face \(120, 4\), eye \(120, 3\)"),
    ],
)
def test_a_broken_fitted_fusion_is_named(cls: type, message: str) -> None:
    with registered(FUSIONS, "toy-broken", cls), pytest.raises(CellError, match=message):
        trained("toy-broken", missing=0.0)


def test_a_fitted_fusion_that_raises_is_named_with_its_views_and_shapes() -> None:
    with (
        registered(FUSIONS, "toy-shut", Shut),
        pytest.raises(PluginError, match=r"toy-shut.*face \(300, 4\), eye \(300, 3\).*ValueError: gates are shut"),
    ):
        trained("toy-shut", missing=0.0)


def on_disk(folder: Path, lead: tuple[int, ...] = ()) -> tuple[EmbeddingStore, dict[str, str], FoldRows]:
    """Three clouds as stored embeddings of two views; some are missing, some frames have none."""
    rng = np.random.default_rng(5)
    size = 700
    label = rng.choice(3, size, p=[0.6, 0.3, 0.1])
    gone = rng.random((size, 2)) < 0.1
    gone[::50] = True
    store = EmbeddingStore(folder)
    for column, (key, width) in enumerate((("a", 12), ("b", 7))):
        values = rng.normal(4, 2, (size, *lead, width)) + rng.normal(size=(3, *lead, width))[label]
        values[gone[:, column]] = np.nan
        store.write(key, 0, values.astype(np.float16), ())
    part = rng.choice(3, size, p=[0.6, 0.2, 0.2])
    train, dev, test = (np.flatnonzero(part == index) for index in range(3))
    dev_label = np.where(rng.random(len(dev)) < 0.2, -1, label[dev])
    unit = np.array([f"u{row // 9}" for row in train])
    clip, number = np.divmod(np.arange(size), 9)
    rows = FoldRows(train, label[train], unit, dev, dev_label, test, clip, number)
    return store, {"face": "a", "eye": "b"}, rows


class Pooled(Fusion):
    """The mean of the tokens, side by side; learns from which views are there, too, and drops some of what it sees."""

    needs = "tokens"
    token_count = 4

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        means = [views[name].mean(1) * present[name][:, None] for name in self.in_dims]
        return torch.nn.functional.dropout(torch.cat(means, 1), 0.2, self.training)


class Corners(Pooled):
    """The first place of maps, and their mean; drops some of what it sees."""

    needs = "map"

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        maps = [views[name] * present[name][:, None, None, None] for name in self.in_dims]
        seen = torch.cat([torch.cat([each[:, :, 0, 0], each.mean((2, 3))], 1) for each in maps], 1)
        return torch.nn.functional.dropout(seen, 0.2, self.training)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fusion", "lead"),
    [
        *(("plain-concat", ()), ("mlp:hidden=16,dropout=0.3", ()), ("gated-gru:width=8,window=4", ())),
        *(("toy-pooled", (4,)), ("toy-corners", (2, 3))),
    ],
)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("batch", [64, 69])
def test_a_streamed_fit_gives_the_bits_of_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fusion: str, lead: tuple[int, ...], standardize: bool, batch: int
) -> None:
    monkeypatch.setattr(features_module, "WINDOW", 9000)
    store, keys, rows = on_disk(tmp_path, lead)
    recipe = Recipe(epochs=4, lr=0.02, batch_size=batch, standardize=standardize)
    heads = []
    with registered(FUSIONS, "toy-pooled", Pooled), registered(FUSIONS, "toy-corners", Corners):
        for memory in (10**9, 10_000):
            features = load_features(store, keys, rows, standardize=standardize, memory=memory)
            assert isinstance(features.train, FeaturesInMemory) == (memory == 10**9)
            heads.append(fit(features, rows, expression(3), Spec.parse(fusion), recipe, 1, "cpu"))
    held, streamed = heads
    assert held.history == streamed.history
    assert (held.params, held.gflops, held.best_epoch) == (streamed.params, streamed.gflops, streamed.best_epoch)
    for name in ("dev_logits", "test_logits", "test_complete"):
        np.testing.assert_array_equal(getattr(held, name), getattr(streamed, name))
    assert held.state.keys() == streamed.state.keys()
    for name, value in held.state.items():
        np.testing.assert_array_equal(value, streamed.state[name])


def test_a_fitted_fusion_above_the_memory_limit_is_reported_with_both_sizes(tmp_path: Path) -> None:
    store, keys, rows = on_disk(tmp_path)
    features = load_features(store, keys, rows, standardize=True, memory=10_000)
    needed = (len(rows.train) + len(rows.dev) + len(rows.test)) * 19 * 4
    assert features.size == needed
    object.__setattr__(features, "size", 5 * 2**30)
    object.__setattr__(features, "limit", 3 * 2**29)
    with pytest.raises(
        CellError,
        match=r"toy-forest .* 5.0 GiB.* 1.5 GiB .*--memory",
    ):
        fit(features, rows, expression(3), Spec("toy-forest"), Recipe(), 0, "cpu")


def test_views_are_dropped_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, list[float]] = {True: [], False: []}
    fuse = Recorder.fuse

    def watched(self: Fusion, views: dict[str, Tensor], present: dict[str, Tensor]) -> Any:
        seen[self.training].append(torch.stack(list(present.values())).float().mean().item())
        return fuse(self, views, present)

    monkeypatch.setattr(Recorder, "fuse", watched)
    trained(recipe=Recipe(epochs=5, view_dropout=0.5), missing=0.0)
    # Of two views each goes with .5, and one comes back where both would: .5 + .25 / 2.
    assert np.mean(seen[True]) == pytest.approx(0.625, abs=0.03)
    assert set(seen[False]) == {1.0}


def test_view_heads_add_their_parameters_and_are_stored_with_the_head() -> None:
    plain, headed = trained(), trained(recipe=Recipe(epochs=5, lr=0.02, view_heads=0.5, gradient_modulation=0.3))
    assert headed.params - plain.params == (4 * 4 + 4) + (3 * 3 + 3) + 3 * (4 + 1) + 3 * (3 + 1)
    assert {name for name in headed.state if name.startswith("fusion.adapters.0")} == {
        "fusion.adapters.0.weight",
        "fusion.adapters.0.bias",
    }
    assert np.abs(headed.state["fusion.adapters.0.weight"]).max() > 0
    again = trained(recipe=Recipe(epochs=5, lr=0.02, view_heads=0.5, gradient_modulation=0.3))
    np.testing.assert_array_equal(headed.test_logits, again.test_logits)


def test_the_number_of_tokens_is_that_of_the_fusion_or_its_option() -> None:
    class Tokens(Fusion):
        needs = "tokens"
        token_count = 4

        def __init__(self, in_dims: dict[str, int], num_classes: int, token_count: int = 4) -> None:
            super().__init__(in_dims, num_classes)

    with registered(FUSIONS, "toy-tokens", Tokens):
        assert tokens_needed(Spec("toy-tokens")) == 4
        assert tokens_needed(Spec("toy-tokens", {"token_count": 9})) == 9
    with registered(FUSIONS, "toy-corners", Corners):
        assert tokens_needed(Spec("toy-corners")) == "map"
    assert tokens_needed(Spec("toy-sum")) == 0
    assert tokens_needed(Spec("toy-forest")) == 0


def test_large_maps_are_evaluated_in_smaller_batches_and_others_as_before() -> None:
    def features(*shape: int) -> FeaturesInMemory:
        return FeaturesInMemory({"face": np.empty((3, *shape), np.float32)}, {})

    assert rows_at_once(features(2**16)) == rows_at_once(features(64, 2**10)) == rows_at_once(features(2, 2, 8)) == 4096
    assert rows_at_once(features(14, 14, 768)) == 2**28 // (4 * 14 * 14 * 768)
    assert rows_at_once(features(2**10, 2**10, 768)) == 1
