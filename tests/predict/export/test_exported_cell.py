"""An exported cell gives the numbers of the cell, in ONNX Runtime and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.special import softmax
from toy_components import Blobs, Sum, carry_out, registered, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit import api
from fusionkit.contracts import Labels
from fusionkit.errors import ConfigError, DataError, PluginError
from fusionkit.predict.export import write
from fusionkit.registry import DATASETS, FUSIONS

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.usefixtures("toy_house"), pytest.mark.slow]


def benched(path: Path, **changes: Any) -> Path:
    chosen = {"reference": "none", "seeds": 2, "backbones": ["hog:size=16"], "extractor": "toy-halves"}
    outcome, _ = carry_out(toy_plan(**{**chosen, **changes}), path)
    assert outcome.failed == {}
    return path


def frames_of(rows: int) -> list[np.ndarray | None]:
    return Blobs().images(np.arange(rows))


class ByValue(Sum):
    """Doubles what it gives if the first frame of a batch is bright: no graph can hold it."""

    def combine(self, views: Any, present: Any) -> Any:
        return views.sum(1) * (2 if float(views[0].sum()) > 0 else 1)


class FixedBatch(Sum):
    """Takes the number of frames for a constant."""

    def combine(self, views: Any, present: Any) -> Any:
        return views.sum(1).reshape(len(views), -1)


def test_a_fusion_over_time_is_refused(tmp_path: Path) -> None:
    run = benched(tmp_path / "run", fusions=["gated-gru:width=8"], seeds=1)
    with pytest.raises(PluginError, match=r"gated-gru.* cannot be exported: its fusion uses neighbouring frames"):
        api.export(run, "gated-gru", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_probabilities_equal_those_of_the_cell_also_with_missing_views_and_images(tmp_path: Path) -> None:
    run = benched(tmp_path / "run", fusions=["concat:width=16"], smoothers=["exponential"])
    found = api.export(run, "concat", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("manifest.json", "model-card.md", "model.onnx", "model.pt2")
    ]
    assert found.check["probabilities_differ_by"] < 1e-5
    assert found.check["same_label"] == found.check["rows"] == 24 * 3 - 3  # 3 frames of 24 have no bottom
    cell, exported = fusionkit.load(run, "concat", device="cpu"), fusionkit.load(tmp_path / "out")
    frames = frames_of(40)  # every 11th without image, every 7th without its bottom
    assert sum(frame is None for frame in frames) == 4
    expected = cell.predict_proba(frames, "one clip")
    np.testing.assert_allclose(exported.predict_proba(frames, "one clip"), expected, atol=1e-5)
    stream = exported.stream()
    streamed = [stream(frame, number) for number, frame in enumerate(frames, 1)]
    assert [row is None for row in streamed] == [frame is None for frame in frames]
    np.testing.assert_allclose(
        [row for row in streamed if row is not None],
        [row for row, frame in zip(expected, frames, strict=True) if frame is not None],
        atol=1e-5,
    )
    rows = np.arange(30)
    np.testing.assert_allclose(
        exported.predict_dataset("toy-blobs", rows).probs, cell.predict_dataset("toy-blobs", rows).probs, atol=1e-5
    )


def test_the_manifest_is_enough_to_predict_without_fusionkit(tmp_path: Path) -> None:
    run = benched(tmp_path / "run", fusions=["mlp"], smoothers=["none"], seeds=1, backbones=["random-features:size=12"])
    api.export(run, "mlp", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [(item["name"], item["kind"], item["shape"]) for item in manifest["inputs"]] == [
        ("face", "pixels", [12, 12, 3]),
        ("bottom", "pixels", [12, 12, 3]),
    ]
    frame = Blobs(missing=False).images(np.arange(1))[0]
    assert frame is not None
    bottom = frame[len(frame) // 2 :]
    assert manifest["boxes"] == {"bottom": [56, 84, 112, 56, 0]}
    session = ort.InferenceSession(tmp_path / "out/model.onnx")
    flags = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos": 4}
    feeds = {"present": np.array([[True, True]])}
    for item, view in zip(manifest["inputs"], (frame, bottom), strict=True):
        feeds[item["name"]] = cv2.resize(view, (12, 12), interpolation=flags[item["interpolation"]])[None]
    logits, probs = session.run(None, feeds)
    assert logits.shape == (1, 1, 3)
    np.testing.assert_allclose(probs, softmax(logits[:, 0], axis=1), atol=1e-6)
    np.testing.assert_allclose(probs, fusionkit.load(run, "mlp").predict_proba([frame]), atol=1e-5)


@pytest.mark.parametrize(("fusion", "backbone"), [("concat:width=16", "hog:size=16"), ("stacking", "toy-colours")])
def test_a_cell_of_clips_is_exported_as_backbones_and_heads_of_pooled_embeddings(
    tmp_path: Path, fusion: str, backbone: str
) -> None:
    name = fusion.partition(":")[0]
    chosen = {"datasets": ["toy-clips"], "labels": "clip", "smoothers": ["none"], "fusions": [fusion]}
    run = benched(tmp_path / "run", **chosen, backbones=[backbone])
    found = api.export(run, name, tmp_path / "out")
    assert found.check["same_label"] == found.check["rows"]
    pixels = backbone.startswith("hog")
    assert (tmp_path / "out/frames.onnx").is_file() == (tmp_path / "out/frames.pt2").is_file() == pixels

    cell, exported = fusionkit.load(run, name), fusionkit.load(tmp_path / "out")
    frames = frames_of(40)  # every 11th without image, every 7th without its bottom
    clips = np.repeat(["a", "b", "c", "d"], [1, 9, 12, 18])
    expected = cell.predict_proba(frames, clips)
    probs = exported.predict_proba(frames, clips)
    np.testing.assert_allclose(probs, expected, atol=1e-4)
    assert len(np.unique(probs, axis=0)) == 4
    with pytest.raises(ConfigError, match="cannot be streamed: it was trained with labels = clip"):
        exported.stream()

    embedded = exported.embed(frames) if pixels else cell.embed(frames)
    feeds = {"present": np.zeros((4, 2), bool)}
    for column, (view, values) in enumerate(embedded.items()):
        own = [values[clips == each] for each in "abcd"]
        own = [each[~np.isnan(each[:, 0])].astype(float) for each in own]
        feeds["present"][:, column] = [len(each) > 0 for each in own]
        pooled = [np.r_[each.mean(0), each.std(0)] if len(each) else np.zeros(2 * values.shape[1]) for each in own]
        feeds[view] = np.array(pooled, np.float32)
    _, by_hand = ort.InferenceSession(tmp_path / "out/model.onnx").run(None, feeds)
    np.testing.assert_allclose(probs[[0, 1, 10, 22]], by_hand, atol=1e-5)


def test_the_torch_program_gives_the_same_logits_for_any_number_of_frames(tmp_path: Path) -> None:
    import torch

    api.export(benched(tmp_path / "run", seeds=1, smoothers=["none"]), "toy-sum", tmp_path / "out")
    program = torch.export.load(tmp_path / "out/model.pt2").module()
    session = ort.InferenceSession(tmp_path / "out/model.onnx")
    random = np.random.default_rng(0)
    for count in (1, 5):
        feeds = {name: random.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8) for name in ("face", "bottom")}
        present = np.ones((count, 2), bool)
        with torch.no_grad():
            logits, _ = program(torch.from_numpy(present), *map(torch.from_numpy, feeds.values()))
        np.testing.assert_allclose(logits.numpy(), session.run(["logits"], {"present": present, **feeds})[0], atol=1e-5)


def test_a_backbone_without_a_network_stays_code_and_a_fitted_smoother_keeps_its_state(tmp_path: Path) -> None:
    run = benched(tmp_path / "run", backbones=["toy-colours"], smoothers=["hmm"])
    found = api.export(run, "toy-sum", tmp_path / "out")
    assert found.code == {"face": "toy-colours", "bottom": "toy-colours"}
    assert (tmp_path / "out/smoother-1.safetensors").is_file()
    frames = frames_of(20)
    np.testing.assert_allclose(
        fusionkit.load(tmp_path / "out").predict_proba(frames, "a"),
        fusionkit.load(run, "toy-sum").predict_proba(frames, "a"),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("fusion", "message"),
    [(ByValue, "cannot be exported: torch.export cannot trace it"), (FixedBatch, r"Constraints violated \(frames\)")],
)
def test_a_fusion_that_no_graph_can_hold_is_refused_and_nothing_is_left(
    tmp_path: Path, fusion: type, message: str
) -> None:
    with registered(FUSIONS, "toy-odd", fusion):
        run = benched(tmp_path / "run", fusions=["toy-odd"], seeds=1)
        with pytest.raises(PluginError) as refused:
            api.export(run, "toy-odd", tmp_path / "out")
        assert "\n" not in str(refused.value)
        assert refused.match(message)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []


def test_wrong_requests_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = benched(tmp_path / "run", seeds=1)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    with pytest.raises(ConfigError, match="taken already exists"):
        api.export(run, "toy-sum", tmp_path / "taken")
    with pytest.raises(ConfigError, match="no row matches 'mlp'"):
        api.export(run, "mlp", tmp_path / "out")
    with pytest.raises(ConfigError, match="cell is missing"):
        fusionkit.load(run)
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match="export needs onnxscript, not installed here"):
        api.export(run, "toy-sum", tmp_path / "out")


def test_a_changed_file_of_an_exported_cell_is_refused(tmp_path: Path) -> None:
    api.export(benched(tmp_path / "run", seeds=1), "toy-sum", tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    with (tmp_path / "copy/model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"model\.onnx differs from the file that was exported"):
        fusionkit.load(tmp_path / "copy")
    with pytest.raises(ConfigError, match="no row can be chosen"):
        fusionkit.load(tmp_path / "out", "toy-sum")
    with pytest.raises(ConfigError, match=r"device = 'mps' must be auto, cpu, cuda or cuda:N"):
        fusionkit.load(tmp_path / "out", device="mps")


def test_predict_runs_without_torch(tmp_path: Path) -> None:
    data = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
    fusionkit.bench(
        datasets=[data],
        backbones=["hog"],
        seeds=1,
        smoothers=["exponential"],
        executor="serial",
        out=tmp_path / "run",
    )
    api.export(tmp_path / "run", "concat/exponential", tmp_path / "out")
    (tmp_path / "faces").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"faces/{name}.png"), noise)
    script = (
        "import sys\nsys.modules |= {'torch': None, 'timm': None, 'torchvision': None}\n"
        "from fusionkit.cli import main\nmain()"
    )
    command = [sys.executable, "-c", script, "predict", str(tmp_path / "out"), str(tmp_path / "faces")]
    done = subprocess.run([*command, "--out", str(tmp_path / "found")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "found/predictions.csv").read_text().splitlines()
    cell = fusionkit.load(tmp_path / "run", "concat/exponential")
    frame = cv2.imread(str(tmp_path / "faces/a.png"))[..., ::-1]
    expected = cell.predict_proba([frame])[0]
    np.testing.assert_allclose([float(value) for value in lines[1].split(",")[5:]], expected, atol=2e-4)


class WithUnits(Blobs):
    """Blobs with an action unit that is active in one class."""

    def labels(self, task: str) -> Labels | None:
        if task != "action-units":
            return super().labels(task)
        label = self._table.label
        return Labels(("AU1",), np.where(label < 0, np.nan, label == 2)[:, None].astype(np.float32))


def test_a_task_that_was_learned_with_others_is_exported_alone(tmp_path: Path) -> None:
    with registered(DATASETS, "toy-units", WithUnits):
        settings = {"datasets": ["toy-units"], "task": "action-units,expression", "fusions": ["toy-sum"]}
        plan = toy_plan(reference="none", seeds=2, backbones=["hog:size=16"], extractor="toy-halves", **settings)
        carry_out(plan, tmp_path / "run")
        cell = next(row.id for row in plan.rows if row.axes.task == "expression")
        api.export(tmp_path / "run", cell, tmp_path / "out")
        own, exported = fusionkit.load(tmp_path / "run", cell, device="cpu"), fusionkit.load(tmp_path / "out")
    assert own.classes == exported.classes == ("calm", "glad", "sad")
    frames = frames_of(12)
    np.testing.assert_allclose(exported.predict_proba(frames), own.predict_proba(frames), atol=1e-5)
