from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_training import InterruptAt, tiny_encoder, tiny_tuning
from toy_components import Blobs, registered, toy_grid, toy_house, toys

from fusionkit.contracts import FrameTable
from fusionkit.engine.source import open_source
from fusionkit.errors import CellError, ConfigError, DataError
from fusionkit.grid.plan import make_plan
from fusionkit.grid.run import RunOptions
from fusionkit.registry import DATASETS
from fusionkit.report.run import Results
from fusionkit.training.evaluation import EpochScore
from fusionkit.training.finetune import Finetuned, finetune
from fusionkit.training.finetune_config import FinetuneRecipe
from fusionkit.training.finetune_plan import make_finetune_plan
from fusionkit.training.finetune_run import FinetuneRun
from fusionkit.training.progress import TrainingProgress
from fusionkit_backbones.timm_model import TimmModel

__all__ = ["toy_house"]
pytestmark = pytest.mark.usefixtures("toy_house")
FILES = ("losses.csv", "epochs.csv", "best/backbone.safetensors", "best/head.safetensors")


DROPPING = {"recipe": {"drop_path": 0.2, "layer_decay": 0.7}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


class Scores(TrainingProgress):
    """Records the score of each epoch, and the best so far."""

    def __init__(self) -> None:
        self.pairs: list[tuple[EpochScore, EpochScore]] = []

    def scored(self, score: EpochScore, best: EpochScore, recipe: FinetuneRecipe) -> None:
        self.pairs.append((score, best))


@pytest.fixture(scope="module")
def plain(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Finetuned, Scores]:
    """A run of the default toy config; no test may change its folder."""
    with toys():
        scores = Scores()
        config, folder = tiny_tuning(encoder, run={"curves": 1}), tmp_path_factory.mktemp("plain") / "run"
        return finetune(config, folder, provenance={"python": "x"}, progress=scores), scores


@pytest.fixture
def copy(plain: tuple[Finetuned, Scores], tmp_path: Path) -> Path:
    """A copy of the folder of the plain run."""
    return shutil.copytree(plain[0].folder.path, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    """An uninterrupted run with random draws in the model; no test may change its folder."""
    with toys():
        return finetune(tiny_tuning(encoder, **DROPPING), tmp_path_factory.mktemp("whole") / "run")


def epochs(folder: Path) -> list[dict[str, str]]:
    with (folder / "epochs.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_run_writes_weights_curves_and_results(plain: tuple[Finetuned, Scores]) -> None:
    done, scores = plain
    folder = done.folder.path
    assert {"config.json", "losses.csv", "epochs.csv", "curve.png", "best", "grid.json"} <= {
        path.name for path in folder.iterdir()
    }
    (trained,) = done.trained
    steps = len((folder / "losses.csv").read_text(encoding="utf-8").splitlines()) - 1
    assert (trained.steps, trained.resumed) == (steps, 0)
    assert [score.epoch for score, _ in scores.pairs] == [1, 2, 3]
    assert trained.kept == max(trained.scores, key=lambda score: score.macro_f1)
    assert scores.pairs[-1][1] == trained.kept
    assert [float(row["dev_macro_f1"]) for row in epochs(folder)] == [score.macro_f1 for score in trained.scores]
    (row,) = Results(folder).rows
    assert row.axes.name == "face/finetuned/none"
    assert row.score is not None
    assert row.seeds == [0]


@pytest.mark.slow
def test_the_exported_backbone_gives_the_features_of_the_network_that_was_trained(
    encoder: Path, tmp_path: Path
) -> None:
    """Through the backbone of the bench; with the stored classifier they give the stored logits of dev."""
    config = tiny_tuning(encoder, view="top", backbone={"type": "timm", "checkpoint": str(encoder), "pool": "avg"})
    done = finetune(config, tmp_path / "run")
    backbone = TimmModel(checkpoint=str(tmp_path / "run" / "best" / "backbone.safetensors"), precision="float32")
    assert (backbone.pool, backbone.input_size, backbone.mean) == ("avg", (16, 16), (0.485, 0.456, 0.406))
    (work,) = make_finetune_plan(config, "cpu").works
    run = FinetuneRun(config, work, tmp_path / "other", "cpu")
    views = [run.dev_samples.read(index) for index in range(len(run.dev_samples))]
    shown = np.stack([run.transform.plain(view)[0] for view in views if view])
    head = load_file(tmp_path / "run" / "best" / "head.safetensors")
    features = backbone(shown)
    logits = features @ head["weight"].numpy().T + head["bias"].numpy()
    rows = work.fold_data.rows
    labelled = np.flatnonzero(rows.dev_label >= 0)[[view is not None for view in views]]
    np.testing.assert_allclose(logits, done.trained[0].head.dev_logits[labelled], rtol=1e-4, atol=1e-5)
    assert np.abs(features - TimmModel(checkpoint=str(encoder), pool="avg", precision="float32")(shown)).max() > 0.01


def test_the_score_of_an_epoch_is_that_of_its_logits_and_the_best_is_kept(
    encoder: Path, plain: tuple[Finetuned, Scores]
) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    (trained,) = plain[0].trained
    rows = make_finetune_plan(tiny_tuning(encoder), "cpu").works[0].fold_data.rows
    logits = trained.head.dev_logits
    scored = (rows.dev_label >= 0) & ~np.isnan(logits[:, 0])
    truth, predicted = rows.dev_label[scored], logits[scored].argmax(1)
    assert trained.kept.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert trained.kept.accuracy == pytest.approx(accuracy_score(truth, predicted))
    (info,) = Results(plain[0].folder.path).cells()
    assert info["best_epoch"] == trained.kept.epoch
    assert info["dev_score"] <= trained.kept.macro_f1 + 0.1  # frames without an image are imputed there


@pytest.mark.slow
def test_selection_by_accuracy_keeps_the_epoch_of_the_best_accuracy(encoder: Path, tmp_path: Path) -> None:
    kept = {}
    for select in ("accuracy", "macro-f1"):
        config = tiny_tuning(encoder, recipe={"epochs": 8, "select": select, "class_weights": "none"})
        (trained,) = finetune(config, tmp_path / select).trained
        kept[select] = trained
    by_accuracy = kept["accuracy"]
    assert by_accuracy.kept.accuracy == max(score.accuracy for score in by_accuracy.scores)
    assert kept["macro-f1"].scores == by_accuracy.scores  # nothing else is changed by it
    assert kept["macro-f1"].kept.macro_f1 == max(score.macro_f1 for score in by_accuracy.scores)


class Sealed(Blobs):
    """Blobs with shifted test labels."""

    shift = 0

    @property
    def frames(self) -> FrameTable:
        table = super().frames
        hidden = (table.split == "test") & (table.label >= 0)
        return replace(table, label=np.where(hidden, (table.label + self.shift) % 3, table.label))


@pytest.mark.slow
def test_test_labels_decide_nothing(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other test labels: another score, and the same weights, choices and logits to the bit."""
    found = []
    with registered(DATASETS, "toy-sealed", Sealed):
        for shift in (0, 1):
            monkeypatch.setattr(Sealed, "shift", shift)
            config = tiny_tuning(encoder, dataset="toy-sealed:clips=16")
            folder = tmp_path / str(shift)
            (trained,) = finetune(config, folder).trained
            found.append((folder, trained, Results(folder).rows[0].score))
    (one, a, score_a), (two, b, score_b) = found
    assert (one / "epochs.csv").read_bytes() == (two / "epochs.csv").read_bytes()
    for name, value in load_file(one / "best" / "backbone.safetensors").items():
        assert torch.equal(value, load_file(two / "best" / "backbone.safetensors")[name])
    np.testing.assert_array_equal(a.head.test_logits, b.head.test_logits)
    assert score_a is not None
    assert score_b is not None
    assert score_a.value != score_b.value


def test_training_uses_labelled_train_frames_and_selection_labelled_dev_frames(encoder: Path, tmp_path: Path) -> None:
    config = tiny_tuning(encoder)
    (work,) = make_finetune_plan(config, "cpu").works
    run = FinetuneRun(config, work, tmp_path / "run", "cpu")
    table = open_source(config.dataset, None).table
    train, dev = run.train_samples.frames.images.rows, run.dev_samples.frames.images.rows
    assert set(train) == set(np.flatnonzero((table.split == "train") & (table.label >= 0)))
    assert set(dev) == set(np.flatnonzero((table.split == "val") & (table.label >= 0)))
    np.testing.assert_array_equal(run.train_samples.labels, table.label[train])


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 4, 7, 8])  # before the first checkpoint, between two, at the end of an epoch
def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(
    encoder: Path, whole: Finetuned, tmp_path: Path, last: int
) -> None:
    config = tiny_tuning(encoder, **DROPPING)
    with pytest.raises(KeyboardInterrupt):
        finetune(config, tmp_path / "cut", progress=InterruptAt(last))
    done = finetune(config, tmp_path / "cut")
    per_epoch = whole.trained[0].steps // 3
    expected = max(step for step in range(last + 1) if step % 3 == 0 or step % per_epoch == 0)
    assert done.trained[0].resumed == expected
    for name in FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (whole.folder.path / name).read_bytes(), name
    np.testing.assert_array_equal(done.trained[0].head.test_logits, whole.trained[0].head.test_logits)


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do_and_a_lost_result_costs_no_training(
    encoder: Path, plain: tuple[Finetuned, Scores], copy: Path
) -> None:
    config = tiny_tuning(encoder)
    assert finetune(config, copy).trained == []
    (head,) = (copy / "heads").iterdir()
    (head / "test_logits.npy").write_bytes(b"torn")
    (again,) = finetune(config, copy).trained
    assert again.resumed == again.steps
    np.testing.assert_array_equal(again.head.test_logits, plain[0].trained[0].head.test_logits)


@pytest.mark.slow
def test_the_loss_falls_and_the_view_that_shows_the_label_is_learned(encoder: Path, tmp_path: Path) -> None:
    config = tiny_tuning(encoder, dataset="toy-blobs:clips=24,noise=15.0", view="top", recipe={"epochs": 20})
    (trained,) = finetune(config, tmp_path / "run").trained
    assert trained.scores[-1].loss < 0.6 * trained.scores[0].loss
    assert trained.kept.macro_f1 > 0.7


@pytest.mark.slow
def test_the_header_names_the_origin_of_the_weights(encoder: Path, tmp_path: Path) -> None:
    config = tiny_tuning(encoder, view="bottom+top")
    finetune(config, tmp_path / "run")
    file = tmp_path / "run" / "best" / "backbone.safetensors"
    (work,) = make_finetune_plan(config, "cpu").works
    own = (work.fold_data.source.fingerprint, work.fold_data.fold.digest)
    assert TimmModel(checkpoint=str(file)).trained_on() == (own,)
    with safe_open(tmp_path / "run" / "best" / "head.safetensors", "pt") as head:
        about = json.loads(head.metadata()["fusionkit-classifier"])
    assert about["classes"] == ["calm", "glad", "sad"]
    assert about["views"] == ["bottom+top"]
    # Weights that are trained further on other data name both.
    other = tiny_tuning(file, dataset="toy-blobs:clips=12,seed=5")
    finetune(other, tmp_path / "other")
    both = TimmModel(checkpoint=str(tmp_path / "other" / "best" / "backbone.safetensors")).trained_on()
    assert both[0] == own
    assert len(set(both)) == 2


def test_a_bench_that_tests_on_other_frames_of_the_same_data_is_warned(encoder: Path, tmp_path: Path) -> None:
    finetune(tiny_tuning(encoder, split="holdout"), tmp_path / "run")
    file = tmp_path / "run" / "best" / "backbone.safetensors"
    tuned = {"type": "timm", "checkpoint": str(file)}
    grid = {"datasets": ["toy-blobs:clips=12"], "backbones": [{"face": tuned, "default": "toy-colours"}]}

    def warned(split: str) -> list[str]:
        return [note for note in make_plan(toy_grid(**grid, split=split), "cpu").notes if "learned" in note]

    assert warned("holdout") == []
    (note,) = warned("official")
    assert "of toy-blobs:clips=12 under another split than official: scores on test may be too good" in note


def test_a_bench_on_the_same_data_and_split_adds_rows_to_the_folder(encoder: Path, copy: Path) -> None:
    """Both have the same protocol and are compared on the same units."""
    from toy_components import carry_out

    config = tiny_tuning(encoder)
    plan = make_plan(toy_grid(datasets=["toy-blobs:clips=12"], seeds=1), "cpu")
    assert plan.protocol == make_finetune_plan(config, "cpu").plan.protocol
    _, results = carry_out(plan, copy, RunOptions())
    assert [row.axes.fusion for row in results.rows] == ["finetuned", "linear", "toy-sum"]
    comparison = results.compare("finetuned", "toy-sum")
    assert comparison.overall.difference.n_units == comparison.overall.a.n_units
    assert comparison.overall.a.n_units == comparison.overall.b.n_units


@pytest.mark.slow
def test_positions_are_rows_against_the_main_view_alone(encoder: Path, tmp_path: Path) -> None:
    positions = ["alone", "input", "block:1", "pooled", "logits"]
    config = tiny_tuning(
        encoder,
        view="bottom",
        auxiliary="top",
        fusion={"position": positions, "combine": ["average", "concat"]},
        recipe={"epochs": 2},
        smoothers=["none", "toy-box"],
    )
    done = finetune(config, tmp_path / "run")
    assert len(done.trained) == 9
    rows = Results(tmp_path / "run").rows
    assert len(rows) == 18
    assert [row.is_reference for row in rows] == [row.axes.fusion == "finetuned" for row in rows]
    assert {row.axes.views for row in rows if not row.is_reference} == {"bottom,top"}
    assert all(row.delta is not None and row.delta.n_seeds == 1 for row in rows if not row.is_reference)
    assert {path.name for path in (tmp_path / "run" / "runs").iterdir()} >= {"alone-seed0", "block1-concat-seed0"}
    joint = load_file(tmp_path / "run" / "runs" / "block1-concat-seed0" / "best" / "network.safetensors")
    assert joint["combine.project.weight"].shape == (16, 32)
    assert not (tmp_path / "run" / "runs" / "block1-concat-seed0" / "best" / "backbone.safetensors").exists()
    counts = {row.axes.fusion: row.means["n_complete"] for row in rows}
    assert counts["joint:combine=average,position=input"] == counts["finetuned"]  # those with a bottom, the main view
    (one,) = [row for row in rows if row.axes.fusion == "joint:combine=average,position=pooled"][:1]
    assert one.means["imputed"] < next(row for row in rows if row.is_reference).means["imputed"]  # the top is enough


@pytest.mark.slow
def test_joint_runs_resume_one_by_one(encoder: Path, tmp_path: Path) -> None:
    config = tiny_tuning(
        encoder, view="top", auxiliary="face", fusion={"position": ["alone", "block:1"]}, seeds=2, recipe={"epochs": 2}
    )
    finetune(config, tmp_path / "whole")

    class StopInThird(TrainingProgress):
        runs = 0

        def stepped(self, step: int, epoch: int, loss: float) -> None:
            self.runs += step == 1
            if self.runs == 3 and step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(config, tmp_path / "cut", progress=StopInThird())
    done = finetune(config, tmp_path / "cut")
    assert [item.folder.name for item in done.trained] == ["block1-average-seed0", "block1-average-seed1"]
    assert done.trained[0].resumed > 0
    for file in (tmp_path / "whole" / "cells").rglob("counts.npz"):
        assert (tmp_path / "cut" / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_each_fold_is_trained_separately(encoder: Path, tmp_path: Path) -> None:
    config = tiny_tuning(encoder, dataset="toy-blobs:clips=16", split="kfold:k=2", recipe={"epochs": 2})
    done = finetune(config, tmp_path / "run")
    assert sorted(done.best) == ["alone-seed0-kfold0", "alone-seed0-kfold1"]
    (row,) = Results(tmp_path / "run").rows
    assert row.score is not None
    assert row.score.n_units == 8


def test_a_wrong_request_is_refused_before_anything_is_written(encoder: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images are fewer than recipe\.batch_size = 1024"):
        finetune(tiny_tuning(encoder, recipe={"batch_size": 1024}), tmp_path / "new")
    with pytest.raises(ConfigError, match="block:7 exceeds the 2 blocks"):
        finetune(tiny_tuning(encoder, auxiliary="top", fusion={"position": "block:7"}), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match=r"holds another run.*: id, recipe\.lr "):
        finetune(tiny_tuning(encoder, recipe={"lr": 1e-5}), copy)
    with pytest.raises(ConfigError, match="holds results of other data or another split"):
        finetune(tiny_tuning(encoder, split="holdout"), copy)


def test_a_loss_that_is_not_finite_is_reported_in_one_line(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"the loss is (nan|inf) at step \d+|a logit is not finite"):
        finetune(tiny_tuning(encoder, recipe={"lr": 1e30, "warmup_epochs": 0}), tmp_path / "run")
