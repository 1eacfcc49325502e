"""A cell is opened from its run folder alone, and reproduces the numbers that were scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from toy_components import (  # noqa: F401
    Blobs,
    Colours,
    Forest,
    Learned,
    Sum,
    carry_out,
    registered,
    toy_house,
    toy_plan,
)

import fusionkit
from fusionkit.api import open_predictor
from fusionkit.engine.features import EmbeddingsInMemory
from fusionkit.engine.source import open_source
from fusionkit.errors import ConfigError, DataError, PluginError
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan
from fusionkit.predict.predictor import Predictor
from fusionkit.registry import BACKBONES, FUSIONS, SMOOTHERS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


class Regression(Forest):
    """Its own weights, taken back."""

    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        values = np.hstack(list(views.values())) @ self.coef.T + self.intercept
        return softmax(values, axis=1)

    def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        super().fit(views, y, groups, seed)
        self.restore(super().state())

    def state(self) -> dict[str, np.ndarray]:
        return {"coef": self.coef, "intercept": self.intercept}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.coef, self.intercept = state["coef"], state["intercept"]


class Kept(Learned):
    """Tells what it has learned."""

    def state(self) -> dict[str, np.ndarray] | None:
        return {"share": self.share}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.share = state["share"]


def benched(path: Path, **changes: Any) -> Plan:
    plan = toy_plan(**{"reference": "none", "seeds": 2, **changes})
    outcome, _ = carry_out(plan, path)
    assert outcome.failed == {}
    return plan


def logits_of(predictor: Predictor, rows: np.ndarray) -> np.ndarray:
    return predictor.logits(predictor.embed_dataset(open_source(Spec("toy-blobs"), None), rows))


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["toy-sum", "mlp", "concat:width=16", "toy-regression"])
@pytest.mark.parametrize("cache", ["kept", "gone"])
def test_the_stored_logits_are_reproduced_bit_by_bit(tmp_path: Path, own_cache: Path, fusion: str, cache: str) -> None:
    with registered(FUSIONS, "toy-regression", Regression):
        plan = benched(tmp_path / "run", fusions=[fusion], regions=["bottom,top"])
        if cache == "gone":
            shutil.rmtree(own_cache)
        Blobs.reads.clear()
        predictor = fusionkit.load(tmp_path / "run", fusion, device="cpu")
        (row,) = plan.rows
        rows = row.heads[0].fold_data.rows.test
        found = logits_of(predictor, rows)
        folder = RunFolder(tmp_path / "run")
        for head, logits in zip(row.heads, found, strict=True):
            np.testing.assert_array_equal(logits, folder.read_logits(head.id).test)
        assert (Blobs.reads == []) == (cache == "kept")


def test_what_a_recipe_adds_to_a_head_is_restored_too(tmp_path: Path) -> None:
    recipe = {"epochs": 4, "lr": 0.05, "view_heads": 0.5, "gradient_modulation": 0.3, "view_dropout": 0.2}
    plan = benched(tmp_path / "run", recipe=recipe, seeds=1)
    head = plan.rows[0].heads[0]
    found = logits_of(fusionkit.load(tmp_path / "run", "toy-sum"), head.fold_data.rows.test)
    np.testing.assert_array_equal(found[0], RunFolder(tmp_path / "run").read_logits(head.id).test)


def test_frames_in_memory_give_the_same_bits(tmp_path: Path) -> None:
    plan = benched(tmp_path / "run", seeds=1)
    predictor = fusionkit.load(tmp_path / "run", "toy-sum/toy-plain/0")
    dataset = Blobs()
    rows = plan.rows[0].heads[0].fold_data.rows.test
    values = predictor.embed(dataset.images(np.arange(len(dataset.frames))))
    assert {name: value.dtype for name, value in values.items()} == {"face": np.float32, "bottom": np.float32}
    stored = RunFolder(tmp_path / "run").read_logits(plan.rows[0].heads[0].id).test
    assert np.isnan(stored).any()
    np.testing.assert_array_equal(predictor.logits({name: value[rows] for name, value in values.items()})[0], stored)


def test_the_probabilities_of_a_row_are_the_mean_over_its_seeds(tmp_path: Path) -> None:
    plan = benched(tmp_path / "run", seeds=3, smoothers=["toy-box:width=auto"])
    whole = fusionkit.load(tmp_path / "run", "toy-sum")
    assert "mean probabilities of 3 heads (seeds 0, 1, 2)" in str(whole)
    singles = [fusionkit.load(tmp_path / "run", f"toy-sum/toy-box/{seed}") for seed in range(3)]
    assert [[head.seed for head in single.heads] for single in singles] == [[0], [1], [2]]
    rows = plan.rows[0].heads[0].fold_data.rows.test
    parts = [single.predict_dataset("toy-blobs", rows).probs for single in singles]
    assert not np.allclose(parts[0], parts[1])
    found = whole.predict_dataset("toy-blobs", rows)
    np.testing.assert_allclose(found.probs, np.mean(parts, axis=0), rtol=1e-12)
    # the score of each seed is that of its predictions
    table = plan.rows[0].heads[0].fold_data.source.table.take(rows)
    known = table.label >= 0
    folder = RunFolder(tmp_path / "run")
    for head, probs in zip(plan.rows[0].heads, parts, strict=True):
        cell = folder.read_cell(plan.rows[0].cell_id(head))
        assert cell is not None
        assert cell.info["measures"]["accuracy"] == pytest.approx((probs.argmax(1) == table.label)[known].mean())


def test_all_folds_take_part(tmp_path: Path) -> None:
    benched(tmp_path / "run", seeds=2, split="kfold:k=3", datasets=["toy-blobs:official=false"])
    predictor = fusionkit.load(tmp_path / "run", "toy-sum")
    assert [(head.seed, head.fold) for head in predictor.heads] == [
        (seed, f"kfold/{fold}") for seed in (0, 1) for fold in range(3)
    ]
    assert "mean probabilities of 6 heads (seeds 0, 1, folds kfold/0, kfold/1, kfold/2)" in str(predictor)
    assert not np.allclose(predictor.heads[0].prior, predictor.heads[1].prior)


def test_a_predictor_describes_its_cell(tmp_path: Path) -> None:
    plan = benched(
        tmp_path / "run", impute="linear", backbones=[{"bottom": "toy-colours:gain=3.0", "default": "toy-colours"}]
    )
    predictor = fusionkit.load(tmp_path / "run", "toy-sum")
    assert predictor.classes == ("calm", "glad", "sad")
    assert {name: str(view.backbone) for name, view in predictor.views.items()} == {
        "face": "toy-colours",
        "bottom": "toy-colours:gain=3.0",
    }
    assert str(predictor.dataset) == "toy-blobs"
    assert predictor.impute == "linear"
    assert fusionkit.load(tmp_path / "run", "toy-sum", impute="prior").impute == "prior"
    np.testing.assert_allclose(predictor.prior, plan.rows[0].heads[0].fold_data.prior)
    assert predictor.notes == ()


def test_a_fitted_smoother_is_restored(tmp_path: Path) -> None:
    with registered(SMOOTHERS, "toy-kept", Kept):
        plan = benched(tmp_path / "run", smoothers=["toy-kept"])
        predictor = fusionkit.load(tmp_path / "run", "toy-kept/1")
        fold_data = plan.rows[0].heads[0].fold_data
        found = predictor.predict_dataset("toy-blobs", fold_data.rows.test)
        logits = RunFolder(tmp_path / "run").read_logits(plan.rows[0].heads[1].id)
        seen = ~np.isnan(logits.test[:, 0])
        known = fold_data.rows.dev_label[(fold_data.rows.dev_label >= 0) & ~np.isnan(logits.dev[:, 0])]
        share = np.bincount(known, minlength=3) / len(known)
        expected = 0.8 * softmax(logits.test[seen].astype(float), axis=1) + 0.2 * share
        np.testing.assert_allclose(found.probs[seen], expected, rtol=1e-9)


def test_a_fitted_smoother_without_a_stored_state_raises(tmp_path: Path) -> None:
    benched(tmp_path / "run", smoothers=["toy-learned"])
    with pytest.raises(PluginError, match="smoother toy-learned was fitted on dev frames, but its state is not stored"):
        fusionkit.load(tmp_path / "run", "toy-learned")


def test_a_smoother_of_embeddings_sees_the_views_side_by_side(tmp_path: Path) -> None:
    class Wide(Learned):
        needs = "embeddings"
        fitted = False
        given: list[np.ndarray] = []

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            Wide.given.append(x)
            return np.abs(x[:, :3]) + 0.1

    with registered(SMOOTHERS, "toy-wide", Wide):
        plan = benched(tmp_path / "run", smoothers=["toy-wide"], seeds=1)
        folder = RunFolder(tmp_path / "run")
        predictor = fusionkit.load(folder.path, "toy-wide")
        rows = plan.rows[0].heads[0].fold_data.rows.test
        table = plan.rows[0].heads[0].fold_data.source.table.take(rows)
        probs = predictor.predict_dataset("toy-blobs", rows).probs
        cell = folder.read_cell(plan.rows[0].cell_id(plan.rows[0].heads[0]))
        assert cell is not None
        known = table.label >= 0
        assert cell.info["measures"]["accuracy"] == pytest.approx((probs.argmax(1) == table.label)[known].mean())
        assert {x.shape[1] for x in Wide.given} == {24}


def test_a_component_that_is_not_registered_raises_one_line(tmp_path: Path) -> None:
    class Gone(Sum):
        pass

    with registered(FUSIONS, "toy-gone", Gone):
        benched(tmp_path / "run", fusions=["toy-gone"])
    with pytest.raises(PluginError, match=r"the cell was trained with fusion 'toy-gone' \(.*\), not registered here"):
        fusionkit.load(tmp_path / "run", "toy-gone")


def test_a_changed_component_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benched(tmp_path / "run")
    monkeypatch.setattr(Colours, "revision", 2)
    monkeypatch.setattr(Sum, "revision", 5)
    with pytest.warns(UserWarning, match="backbone toy-colours: revision 1 -> 2; fusion toy-sum: revision 1 -> 5"):
        fusionkit.load(tmp_path / "run", "toy-sum")
    (note,) = open_predictor(tmp_path / "run", "toy-sum").notes
    assert note.endswith("predictions may differ")


def test_a_fusion_that_does_not_accept_its_state_raises_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benched(tmp_path / "run")
    from torch import nn

    before = Sum.__init__

    def larger(self: Any, in_dims: dict[str, int], num_classes: int) -> None:
        before(self, in_dims, num_classes)
        self.more = nn.Linear(2, 2)

    monkeypatch.setattr(Sum, "__init__", larger)
    with pytest.raises(PluginError, match="fusion toy-sum does not accept its stored state"):
        open_predictor(tmp_path / "run", "toy-sum")


def test_weights_that_differ_from_those_of_training_raise(tmp_path: Path) -> None:
    class Weighed(Colours):
        files = ("gains",)

        def __init__(self, gains: str = "") -> None:
            super().__init__(float(Path(gains).read_text(encoding="utf-8")))

    weights = tmp_path / "gains.txt"
    weights.write_text("1.5", encoding="utf-8")
    with registered(BACKBONES, "toy-weighed", Weighed):
        benched(tmp_path / "run", backbones=[f"toy-weighed:gains={weights}"], seeds=1)
        assert fusionkit.load(tmp_path / "run", "toy-sum").notes == ()
        weights.write_text("2.5", encoding="utf-8")
        with pytest.raises(DataError, match="file gains of toy-weighed differs from the one that the cell was trained"):
            fusionkit.load(tmp_path / "run", "toy-sum")
        weights.unlink()
        with pytest.raises(ConfigError, match=r"gains = .* cannot be read: No such file"):
            fusionkit.load(tmp_path / "run", "toy-sum")


def test_unfinished_cells_are_left_out_and_noted(tmp_path: Path) -> None:
    plan = benched(tmp_path / "run", seeds=3)
    (row,) = plan.rows
    cells = [row.cell_id(head) for head in row.heads]
    shutil.rmtree(tmp_path / "run/cells" / cells[1])
    predictor = open_predictor(tmp_path / "run", "toy-sum")
    assert [head.seed for head in predictor.heads] == [0, 2]
    assert predictor.notes == ("face,bottom/toy-sum/toy-plain: 1 of 3 cells are not finished and are left out",)
    for cell in (cells[0], cells[2]):
        shutil.rmtree(tmp_path / "run/cells" / cell)
    with pytest.raises(DataError, match="toy-sum/toy-plain is not finished in"):
        open_predictor(tmp_path / "run", "toy-sum")


def test_a_folder_or_cell_that_cannot_be_used_raises_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no grid"):
        fusionkit.load(tmp_path / "nothing", "x")
    benched(tmp_path / "run", seeds=1)
    with pytest.raises(ConfigError, match="no row matches 'nope'"):
        fusionkit.load(tmp_path / "run", "nope")
    with pytest.raises(ConfigError, match="impute = 'near' must be one of: nearest, linear, prior"):
        fusionkit.load(tmp_path / "run", "toy-sum", impute="near")
    head = next((tmp_path / "run/heads").iterdir())
    (head / "head.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="is missing or damaged"):
        fusionkit.load(tmp_path / "run", "toy-sum")


def test_the_stored_description_of_a_head_is_reproducible(tmp_path: Path) -> None:
    plan = benched(tmp_path / "one", seeds=1)
    benched(tmp_path / "two", seeds=1)
    (head,) = plan.heads
    files: Sequence[bytes] = [(tmp_path / run / "heads" / head / "head.json").read_bytes() for run in ("one", "two")]
    assert files[0] == files[1]
    info = json.loads(files[0])
    assert info["tasks"] == [["expression", ["calm", "glad", "sad"], 0]]
    assert info["extractor"] == "toy-halves"
    fold_data = plan.rows[0].heads[0].fold_data
    counts = np.bincount(fold_data.rows.train_label)
    assert info["prior"] == (counts / counts.sum()).tolist()


@pytest.mark.parametrize("fusion", ["toy-sum", "gated-gru:width=8,window=4"])
def test_a_smoother_of_predictions_and_embeddings_predicts_as_in_its_run(tmp_path: Path, fusion: str) -> None:
    plan = benched(tmp_path / "run", fusions=[fusion], smoothers=["none", "bilateral:sigma=2"], seeds=1)
    folder = RunFolder(tmp_path / "run")
    predictor, plain = (fusionkit.load(folder.path, name) for name in ("bilateral", "none"))
    row = next(row for row in plan.rows if row.smoother.name == "bilateral")
    data = row.heads[0].fold_data
    rows = data.rows.test
    table = data.source.table.take(rows)
    found = predictor.predict_dataset("toy-blobs", rows)
    cell = folder.read_cell(row.cell_id(row.heads[0]))
    assert cell is not None
    accuracy = (found.probs.argmax(1) == table.label)[table.label >= 0].mean()
    assert cell.info["measures"]["accuracy"] == pytest.approx(accuracy)
    assert np.abs(found.probs - plain.predict_dataset("toy-blobs", rows).probs).max() > 1e-3
    (head,) = predictor.heads
    outputs = head.outputs(EmbeddingsInMemory(predictor.embed(Blobs().images(rows))))
    np.testing.assert_allclose(head.smooth_outputs(outputs, table, "nearest"), found.probs, atol=1e-5)
    with pytest.raises(ConfigError, match=r"cannot be streamed: its smoother needs embeddings beside predictions"):
        predictor.stream()
