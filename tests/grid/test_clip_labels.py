"""With labels = clip a head learns from pooled embeddings, and a clip is predicted and scored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, recall_score

import fusionkit
from fusionkit import api
from fusionkit.config.grid_config import resolve
from fusionkit.engine.features import EmbeddingsInMemory
from fusionkit.engine.fold import open_folds
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import make_plan
from fusionkit.predict.stored_cell import open_cell
from fusionkit.predict.trained_head import ClipHead
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("no_page")

NAMES = ("calm", "glad", "sad")
PARTS = ("train",) * 24 + ("val",) * 9 + ("test",) * 15


def arrays(path: Path, **changes: Any) -> dict[str, Any]:
    """48 clips of 3-6 frames, whose class is in the spread of a view; some frames lack it, clip 2 altogether."""
    rng = np.random.default_rng(3)
    length = rng.integers(3, 7, len(PARTS))
    clip = np.repeat(np.arange(len(PARTS)), length)
    label = clip % 3
    face = rng.normal(size=(len(clip), 4)) * (0.3 + label[:, None]) + rng.normal(size=(len(PARTS), 1))[clip]
    mouth = rng.normal(size=(len(clip), 2)) + label[:, None]
    mouth[(rng.random(len(clip)) < 0.2) | (clip == 2)] = np.nan
    columns: dict[str, Any] = {
        "label": [NAMES[each] for each in label],
        "clip": [f"clip {each:02}" for each in clip],
        "subject": [f"person {each:02}" for each in clip],
        "split": np.array(PARTS)[clip],
    }
    return fusionkit.from_arrays(path / "clips.npz", {"face": face, "mouth": mouth}, **{**columns, **changes})


def pooled_by_hand(values: np.ndarray, clip: np.ndarray) -> np.ndarray:
    found = []
    for each in dict.fromkeys(clip.tolist()):
        own = values[clip == each]
        own = own[~np.isnan(own[:, 0])]
        found.append(np.r_[np.mean(own, 0), np.std(own, 0)] if len(own) else np.full(2 * values.shape[1], np.nan))
    return np.array(found)


def stored_views(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path / "clips.npz") as file:
        views = {name: file[name].astype(np.float32).astype(np.float64) for name in ("face", "mouth")}
        return views, file["clip"], file["label"], file["split"]


def keys(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    given = {
        "datasets": data,
        "labels": "clip",
        "regions": "mouth",
        "fusions": "stacking",
        "smoothers": "none",
        "reference": "none",
        "seeds": 1,
    }
    return {**given, **changes}


def test_a_clip_is_scored_once_and_heads_learn_from_mean_and_deviation(tmp_path: Path) -> None:
    results = fusionkit.bench(**keys(arrays(tmp_path)), out=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    (entry,) = folder.load_grid()["rows"]  # type: ignore[index]
    cell = folder.read_cell(entry["cells"][0]["id"])
    assert cell is not None
    assert (cell.info["n_clips"], cell.info["n_frames"]) == (15, 15)

    views, clip, label, split = stored_views(tmp_path)
    first = np.unique(clip, return_index=True)[1]
    truth, part = label[first], split[first]
    columns = []
    for values in views.values():
        own = pooled_by_hand(values, clip)
        train = own[(part == "train") & ~np.isnan(own[:, 0])]
        own[np.isnan(own[:, 0])] = train.mean(0)
        columns.append((own - train.mean(0)) / train.std(0))
    state, _ = folder.read_head(cell.info["head"])
    stages = []
    for name, x in zip(views, columns, strict=True):
        own = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
        own.fit(x[part == "train"], truth[part == "train"])
        np.testing.assert_allclose(state[f"fusion.{name}.weight"], own.coef_, atol=1e-3)
        stages.append(np.log(own.predict_proba(x[part == "test"])))
    z = np.hstack(stages) @ state["fusion.together.weight"].T + state["fusion.together.bias"]
    probs = np.exp(folder.read_logits(cell.info["head"]).test)
    np.testing.assert_allclose(probs, np.exp(z) / np.exp(z).sum(1, keepdims=True), atol=2e-3)

    answers, right = np.array(NAMES)[probs.argmax(1)], truth[part == "test"]
    assert cell.info["measures"]["accuracy"] == pytest.approx(accuracy_score(right, answers))
    assert cell.info["measures"]["uar"] == pytest.approx(recall_score(right, answers, average="macro"))
    assert cell.info["score"] == pytest.approx(f1_score(right, answers, average="macro"))
    assert results.rows[0].axes.labels == "clip"


def test_features_of_clips_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    clip = np.repeat(np.arange(9), [1, 5, 2, 9, 1, 1, 4, 3, 7])
    values = rng.normal(size=(len(clip), 3)).astype(np.float32)
    values[rng.random(len(clip)) < 0.3] = np.nan
    expected = pooled_by_hand(values.astype(np.float64), clip)
    for block in (1, 4, 2048):
        monkeypatch.setattr("fusionkit.engine.features._BLOCK", block)
        found = EmbeddingsInMemory({"face": values}).of_clips(["face"], clip).values["face"]
        np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("fusion", ["mlp", "stacking"])
def test_every_frame_of_a_clip_has_the_prediction_of_the_stored_logits(tmp_path: Path, fusion: str) -> None:
    data = arrays(tmp_path)
    run = {**keys(data, fusions=fusion, recipe={"epochs": 2} if fusion == "mlp" else {}), "out": tmp_path / "run"}
    fusionkit.bench(**run)
    folder = RunFolder(tmp_path / "run")
    entry = folder.load_grid()["rows"][0]  # type: ignore[index]
    cell = folder.read_cell(entry["cells"][0]["id"])
    assert cell is not None
    logits = folder.read_logits(cell.info["head"]).test.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    predictor = open_cell(folder, entry["id"], "cpu")
    _, clip, _, split = stored_views(tmp_path)
    rows = np.flatnonzero(split == "test")
    found = predictor.predict_dataset(Spec("embeddings", {"path": data["path"]}), rows)
    first = np.unique(clip[rows], return_index=True)[1]
    np.testing.assert_allclose(found.probs[first], expected, rtol=1e-12)
    for each in np.unique(clip[rows]):
        assert len(np.unique(found.probs[clip[rows] == each], axis=0)) == 1
    views = {name: values.astype(np.float32) for name, values in stored_views(tmp_path)[0].items()}
    head = predictor.heads[0]
    outputs = head.outputs(EmbeddingsInMemory({name: values[rows] for name, values in views.items()}))
    np.testing.assert_array_equal(head.smooth_outputs(outputs, found.table, "nearest"), found.probs)
    with pytest.raises(ConfigError, match="cannot be streamed: it was trained with labels = clip"):
        predictor.stream()
    assert fusionkit.bench(**run).rows[0].id == entry["id"]


def test_ablate_and_robust_score_clips_of_which_all_or_some_frames_lose_a_view(tmp_path: Path) -> None:
    fusionkit.bench(**keys(arrays(tmp_path), fusions="mlp", recipe={"epochs": 20}, seeds=2), out=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    (entry,) = folder.load_grid()["rows"]  # type: ignore[index]
    heads = open_cell(folder, entry["id"], "cpu").heads
    views, clip, label, split = stored_views(tmp_path)
    test = split == "test"
    clip, mouth = clip[test], views["mouth"][test]
    truth = label[test][np.unique(clip, return_index=True)[1]]
    face_of_clips, mouth_of_clips = (pooled_by_hand(values[test], clip) for values in views.values())

    def f1(mouth: np.ndarray, head: Any) -> float:
        of_clips = {"face": face_of_clips.astype(np.float32), "mouth": mouth.astype(np.float32)}
        logits = super(ClipHead, head).logits(EmbeddingsInMemory(of_clips), None)
        return float(f1_score(truth, np.array(NAMES)[logits.argmax(1)], average="macro"))

    there = np.flatnonzero(~np.isnan(mouth_of_clips[:, 0]))
    shuffled = np.tile(mouth_of_clips, (3, 1, 1))
    for draw, found in enumerate(shuffled):
        found[there] = mouth_of_clips[np.random.default_rng([5, draw]).permutation(there)]
    blank = [np.where(np.isnan(mouth_of_clips), np.nan, head.scaling["mouth"].mean) for head in heads]
    expected = {
        "shuffle": np.mean([f1(found, head) for found in shuffled for head in heads]),
        "zero": np.mean([f1(found, head) for found, head in zip(blank, heads, strict=True)]),
        "drop": np.mean([f1(np.full_like(mouth_of_clips, np.nan), head) for head in heads]),
    }
    (ablation,) = api.ablate(tmp_path / "run", draws=3, seed=5)
    assert {name: effect.score.value for name, effect in ablation.effects["mouth"].items()} == pytest.approx(expected)
    intact = np.mean([f1(mouth_of_clips, head) for head in heads])
    assert ablation.tested.intact.value == pytest.approx(intact)
    assert (ablation.tested.notes, ablation.tested.intact.n_units) == ((), 15)

    curve = [intact]
    for level in (0.25, 0.5, 0.75):
        scores = []
        for draw in range(3):
            left = mouth.copy()
            left[np.random.default_rng([5, draw]).permutation(len(left))[: round(level * len(left))]] = np.nan
            scores += [f1(pooled_by_hand(left, clip), head) for head in heads]
        curve.append(np.mean(scores))
    (robustness,) = api.robust(tmp_path / "run", draws=3, seed=5)
    points = robustness.curves[0].points
    assert [point.effect.score.value for point in points] == pytest.approx([*curve, expected["drop"]])
    assert len(set(curve)) > 2


def test_smoothers_are_left_out_and_frames_keep_their_identity(tmp_path: Path) -> None:
    data = arrays(tmp_path)
    asked = keys(data, smoothers=["none", "window:width=3"])
    clips = make_plan(resolve(asked, "clips"), "cpu")
    assert [row.axes.smoother for row in clips.rows] == ["none"]
    assert any("every clip has one prediction" in note for note in clips.notes)
    named, silent = ({name: value for name, value in asked.items() if name != "labels"} for _ in range(2))
    frames = [make_plan(resolve(each, "frames"), "cpu") for each in ({**named, "labels": "frame"}, silent)]
    assert frames[0].grid.describe() == frames[1].grid.describe()
    assert "labels" not in frames[0].grid.describe()
    assert {row.id for row in frames[0].rows} == {row.id for row in frames[1].rows}
    assert not {row.id for row in frames[0].rows} & {row.id for row in clips.rows}
    assert frames[0].protocol != clips.protocol


def test_a_clip_needs_one_label_and_one_part(tmp_path: Path) -> None:
    mixed = arrays(tmp_path)
    spec = Spec("embeddings", {"path": mixed["path"]})
    _, clip, label, split = stored_views(tmp_path)
    changed = label.copy()
    changed[1], changed[2] = "", NAMES[1]
    arrays(tmp_path, label=changed)
    with pytest.raises(DataError, match=r"frames 1 and 3 of clip clip 00 have different labels"):
        open_folds(spec, Spec("official"), None, labels="clip")
    changed[2] = ""
    arrays(tmp_path, label=changed)
    folds, _ = open_folds(spec, Spec("official"), None, labels="clip")
    assert (folds[0].values[clip == clip[0]] == 0).all()
    assert folds[0].scored.train_label.tolist() == [each % 3 for each in range(24)]
    assert len(folds[0].dev_table) == 9
    assert split[0] == "train"


@pytest.mark.parametrize(
    ("fusion", "reason"),
    [("gated-gru", "neighbouring frames"), ("self-attention", "tokens"), ("attention-pool", "maps")],
)
def test_fusions_of_frames_or_tokens_are_refused(tmp_path: Path, fusion: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"works on {reason}; labels = clip"):
        make_plan(resolve(keys(arrays(tmp_path), fusions=fusion), "clips"), "cpu")
