from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import TINY, InterruptAt, tiny_run, write_pictures

from fusionkit.errors import CellError, ConfigError, DataError
from fusionkit.training import loader
from fusionkit.training.crop import RandomCrop
from fusionkit.training.mae import patchify
from fusionkit.training.pretrain import Pretrained, build_model, pretrain
from fusionkit.training.progress import TrainingProgress
from fusionkit_backbones.timm_model import TimmModel

FILES = ("losses.csv", "encoder.safetensors")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 faces; no test may change them."""
    return write_pictures(tmp_path_factory.mktemp("data") / "faces", 33)


@pytest.fixture(scope="module")
def whole(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """An uninterrupted run; no test may change its folder."""
    return pretrain(tiny_run(faces), tmp_path_factory.mktemp("whole") / "run", provenance={"python": "x"})


def losses(folder: Path) -> list[float]:
    with (folder / "losses.csv").open(encoding="utf-8") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.fixture
def copy(whole: Pretrained, tmp_path: Path) -> Path:
    """A copy of the folder of the uninterrupted run."""
    return shutil.copytree(whole.encoder.parent, tmp_path / "run")


def test_a_run_writes_its_files_and_an_encoder_that_embeds(whole: Pretrained) -> None:
    folder = whole.encoder.parent
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "losses.csv", "curve.png", "reconstruction-003.png", "checkpoint", *FILES[1:]}
    assert (whole.steps, whole.resumed, whole.images, whole.unreadable) == (12, 0, 33, [])
    rows = [line.split(",") for line in (folder / "losses.csv").read_text(encoding="utf-8").splitlines()]
    assert [row[:2] for row in rows[1:]] == [[str(step + 1), str(step // 4 + 1)] for step in range(12)]
    peak = 0.1 * 8 / 256
    assert [float(row[2]) for row in rows[1:6]] == pytest.approx([0, peak / 4, peak / 2, 3 * peak / 4, peak])
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert content["run"]["recipe"]["mask_ratio"] == 0.75
    assert content["starts"][0]["python"] == "x"
    backbone = TimmModel(checkpoint=str(whole.encoder))
    assert backbone(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 16)


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 5, 8])  # before the first checkpoint, between two, at the end of an epoch
def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(
    faces: Path, whole: Pretrained, tmp_path: Path, last: int
) -> None:
    config = tiny_run(faces)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", progress=InterruptAt(last))
    assert len(losses(tmp_path / "cut")) == last
    done = pretrain(config, tmp_path / "cut")
    assert done.resumed == {2: 0, 5: 4, 8: 8}[last]
    for name in FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (whole.encoder.parent / name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not loader.FORKS, reason="workers are threads here")
def test_a_run_whose_worker_was_killed_resumes_to_the_same_bits(
    faces: Path, whole: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(crop: RandomCrop, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if os.getpid() != here and (tmp_path / "run/losses.csv").exists() and len(losses(tmp_path / "run")) >= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(crop, image, rng)

    here, original = os.getpid(), RandomCrop.__call__
    with monkeypatch.context() as patch:
        patch.setattr(RandomCrop, "__call__", deadly)
        with pytest.raises(CellError, match="worker process that reads images died"):
            pretrain(tiny_run(faces), tmp_path / "run")
    done = pretrain(tiny_run(faces), tmp_path / "run")
    assert 4 <= done.resumed < 12  # workers read ahead, so it is not known at which step the training hears of it
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (whole.encoder.parent / name).read_bytes()


@pytest.mark.slow
def test_threads_give_the_bits_of_processes(
    faces: Path, whole: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "FORKS", False)
    pretrain(tiny_run(faces), tmp_path / "run")
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (whole.encoder.parent / name).read_bytes()


def test_a_finished_run_has_nothing_left_to_do(faces: Path, whole: Pretrained, copy: Path) -> None:
    before = (copy / "losses.csv").stat().st_mtime_ns
    again = pretrain(tiny_run(faces), copy)
    assert (again.resumed, again.losses) == (12, whole.losses)
    assert (copy / "losses.csv").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    faces: Path, whole: Pretrained, tmp_path: Path
) -> None:
    config = tiny_run(faces)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", progress=InterruptAt(11))
    newest = max((tmp_path / "cut" / "checkpoint").iterdir())
    data = (newest / "tensors.safetensors").read_bytes()
    (newest / "tensors.safetensors").write_bytes(data[:-9])
    done = pretrain(config, tmp_path / "cut")
    assert newest.name == "step-000000009"
    assert done.resumed == 8
    (note,) = done.notes
    assert f"{newest} is damaged" in note
    assert (tmp_path / "cut" / "losses.csv").read_bytes() == (whole.encoder.parent / "losses.csv").read_bytes()


@pytest.mark.slow
def test_the_loss_falls_and_beats_a_grey_patch(faces: Path, tmp_path: Path) -> None:
    config = tiny_run(faces, recipe={"epochs": 60, "warmup_epochs": 3}, run={"save_every": 1000, "pictures": 0})
    done = pretrain(config, tmp_path / "run")
    assert np.mean(done.losses[-20:]) < 0.75 * done.losses[0]
    assert np.mean(done.losses[-20:]) < 0.85  # normalised patches have a variance of 1: predicting none of it gives 1
    assert not list((tmp_path / "run").glob("reconstruction-0[0-5]*"))


def test_the_first_loss_is_that_of_the_untrained_model_on_the_first_batch(tmp_path: Path) -> None:
    """Recomputed in NumPy from the model's own predictions for images without crop and flip."""
    faces = write_pictures(tmp_path / "faces", 33)
    config = tiny_run(faces, recipe={"crop": 1.0, "flip": 0.0, "epochs": 1, "warmup_epochs": 0, "batch_size": 33})
    for path in faces.iterdir():  # 16 px: nothing is resized
        cv2.imwrite(str(path), cv2.imread(str(path))[:16, :16])
    seen = []
    from fusionkit.training.mae import MaskedAutoencoder

    original = MaskedAutoencoder.forward

    def spy(self, pixels, order):
        seen.append((pixels, order))
        return original(self, pixels, order)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskedAutoencoder, "forward", spy)
        done = pretrain(config, tmp_path / "run")
    pixels, order = seen[0]
    model = build_model(config).eval()
    with torch.no_grad():
        images = model.normalized(pixels)
        predicted = model.predict(images, order).numpy().astype(float)
    patches = patchify(images, 4).numpy().astype(float)
    target = (patches - patches.mean(-1, keepdims=True)) / np.sqrt(patches.var(-1, ddof=1, keepdims=True) + 1e-6)
    masked = np.ones((33, 16), bool)
    np.put_along_axis(masked, order.numpy()[:, :4], False, 1)
    assert done.losses[0] == pytest.approx(((predicted - target) ** 2).mean(-1)[masked].mean(), rel=1e-5)
    assert len({tuple(row[:4].tolist()) for row in order}) > 25  # each image has a mask of its own


@pytest.mark.slow
def test_the_decay_spares_biases_norms_and_fixed_positions(faces: Path, tmp_path: Path) -> None:
    config = tiny_run(faces, recipe={"weight_decay": 10.0, "base_lr": 1.0, "epochs": 2, "warmup_epochs": 0})
    before = build_model(config).encoder.state_dict()
    with_decay = load_file(pretrain(config, tmp_path / "a").encoder)
    without = load_file(
        pretrain(tiny_run(faces, recipe={**config.recipe.describe(), "weight_decay": 0.0}), tmp_path / "b").encoder
    )
    assert torch.equal(with_decay["pos_embed"], before["pos_embed"])
    kernel = "blocks.0.attn.qkv.weight"
    assert with_decay[kernel].norm() < 0.95 * without[kernel].norm()
    scale = "norm.weight"
    assert with_decay[scale].mean() > 0.95


@pytest.mark.slow
def test_gradient_accumulation_changes_rounding_only(faces: Path, whole: Pretrained, tmp_path: Path) -> None:
    parts = pretrain(tiny_run(faces, run={"accumulation": 4}), tmp_path / "parts").losses
    assert parts == pytest.approx(whole.losses, rel=1e-4)


def test_another_run_in_the_same_folder_is_refused(faces: Path, copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds another run.*: recipe\.mask_ratio "):
        pretrain(tiny_run(faces, recipe={"mask_ratio": 0.5}), copy)


@pytest.mark.slow
def test_a_run_on_changed_data_is_refused(tmp_path: Path) -> None:
    config = tiny_run(write_pictures(tmp_path / "faces", 33), recipe={"epochs": 1, "warmup_epochs": 0})
    pretrain(config, tmp_path / "run")
    write_pictures(tmp_path / "faces", 40)
    with pytest.raises(ConfigError, match=r"holds another run.*: fingerprint "):
        pretrain(config, tmp_path / "run")


@pytest.mark.slow
def test_a_folder_in_use_is_refused(faces: Path, tmp_path: Path) -> None:
    class Second(TrainingProgress):
        def stepped(self, step: int, epoch: int, loss: float) -> None:
            with pytest.raises(ConfigError, match="another process is training in"):
                pretrain(tiny_run(faces), tmp_path / "run")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny_run(faces), tmp_path / "run", progress=Second())
    assert pretrain(tiny_run(faces), tmp_path / "run").resumed == 0


@pytest.mark.slow
def test_a_resumed_run_still_names_unreadable_images(tmp_path: Path) -> None:
    faces = write_pictures(tmp_path / "faces", 33)
    for number in (3, 4):
        (faces / f"{number:03d}.png").write_bytes(b"broken")
    config = tiny_run(faces, recipe={"epochs": 6})
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "run", progress=InterruptAt(20))
    assert pretrain(config, tmp_path / "run").unreadable == [str(faces / "003.png"), str(faces / "004.png")]


@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ({"recipe": {"mask_ratio": 0.99}}, ConfigError, "mask_ratio = 0.99 leaves 0 of 16 patches visible"),
        ({"recipe": {"batch_size": 64}}, DataError, "33 images are fewer than recipe.batch_size = 64"),
        ({"run": {"accumulation": 3}}, ConfigError, "batch_size = 8 must be a multiple of 3"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(
    faces: Path, tmp_path: Path, changes: dict, error: type, line: str
) -> None:
    with pytest.raises(error) as raised:
        pretrain(tiny_run(faces, **changes), tmp_path / "run")
    assert line in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_the_tiny_model_is_small() -> None:
    assert sum(value.numel() for value in build_model(tiny_run("synthetic")).parameters()) < 10_000
    assert TINY["recipe"]["epochs"] == 3
