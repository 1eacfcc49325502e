from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_house import TINY, tiny_run, write_pictures

from fusionkit.errors import ConfigError, DataError
from fusionkit.training.mae import patchify
from fusionkit.training.pretrain import build_model, pretrain
from fusionkit_backbones.timm_model import TimmModel

FILES = ("losses.csv", "encoder.safetensors")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "faces", 33)


def interrupt_at(last: int) -> Callable[[int, int, float], None]:
    def told(step: int, epoch: int, loss: float) -> None:
        if step == last:
            raise KeyboardInterrupt

    return told


def losses(folder: Path) -> list[float]:
    with (folder / "losses.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_a_run_leaves_its_files_and_an_encoder_that_embeds(faces: Path, tmp_path: Path) -> None:
    done = pretrain(tiny_run(faces), tmp_path / "run", provenance={"python": "x"})
    names = {path.name for path in done.encoder.parent.iterdir()}
    assert names == {"config.json", "losses.csv", "curve.png", "reconstruction-003.png", "checkpoint", *FILES[1:]}
    assert (done.steps, done.resumed, done.images, done.unreadable) == (12, 0, 33, [])
    rows = [line.split(",") for line in (tmp_path / "run" / "losses.csv").read_text().splitlines()]
    assert [row[:2] for row in rows[1:]] == [[str(step + 1), str(step // 4 + 1)] for step in range(12)]
    peak = 0.1 * 8 / 256
    assert [float(row[2]) for row in rows[1:6]] == pytest.approx([0, peak / 4, peak / 2, 3 * peak / 4, peak])
    noted = json.loads((tmp_path / "run" / "config.json").read_text())
    assert noted["run"]["recipe"]["mask_ratio"] == 0.75
    assert noted["sessions"][0]["python"] == "x"
    backbone = TimmModel(checkpoint=str(done.encoder))
    assert backbone(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 16)


@pytest.mark.parametrize("last", [2, 5, 8])  # before the first checkpoint, between two, at the end of an epoch
def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(faces: Path, tmp_path: Path, last: int) -> None:
    config = tiny_run(faces)
    pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", told=interrupt_at(last))
    assert len(losses(tmp_path / "cut")) == last
    done = pretrain(config, tmp_path / "cut")
    assert done.resumed == {2: 0, 5: 4, 8: 8}[last]
    for name in FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_run_has_nothing_left_to_do(faces: Path, tmp_path: Path) -> None:
    first = pretrain(tiny_run(faces), tmp_path / "run")
    before = (tmp_path / "run" / "losses.csv").stat().st_mtime_ns
    again = pretrain(tiny_run(faces), tmp_path / "run")
    assert (again.resumed, again.losses) == (12, first.losses)
    assert (tmp_path / "run" / "losses.csv").stat().st_mtime_ns == before


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(faces: Path, tmp_path: Path) -> None:
    config = tiny_run(faces)
    pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", told=interrupt_at(11))
    newest = max((tmp_path / "cut" / "checkpoint").iterdir())
    data = (newest / "tensors.safetensors").read_bytes()
    (newest / "tensors.safetensors").write_bytes(data[:-9])
    done = pretrain(config, tmp_path / "cut")
    assert newest.name == "step-000000009"
    assert done.resumed == 8
    assert done.notes == [f"{newest} is damaged; went on from the checkpoint before"]
    assert (tmp_path / "cut" / "losses.csv").read_bytes() == (tmp_path / "whole" / "losses.csv").read_bytes()


def test_the_loss_falls_and_beats_a_grey_patch(faces: Path, tmp_path: Path) -> None:
    config = tiny_run(faces, recipe={"epochs": 60, "warmup_epochs": 3}, run={"save_every": 1000, "pictures": 0})
    done = pretrain(config, tmp_path / "run")
    assert np.mean(done.losses[-20:]) < 0.75 * done.losses[0]
    assert np.mean(done.losses[-20:]) < 0.85  # normalised patches have a variance of 1: predicting none of it gives 1
    assert not list((tmp_path / "run").glob("reconstruction-0[0-5]*"))


def test_the_first_loss_is_that_of_the_untrained_model_on_the_first_batch(faces: Path, tmp_path: Path) -> None:
    """Recomputed in NumPy from the model's own predictions for images without crop and flip."""
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


def test_the_decay_spares_biases_norms_and_fixed_positions(faces: Path, tmp_path: Path) -> None:
    """With a rate so small that only the decay could move a weight that has no gradient... none moves otherwise."""
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


def test_gradient_accumulation_changes_rounding_only(faces: Path, tmp_path: Path) -> None:
    whole = pretrain(tiny_run(faces), tmp_path / "whole").losses
    parts = pretrain(tiny_run(faces, run={"accumulation": 4}), tmp_path / "parts").losses
    assert parts == pytest.approx(whole, rel=1e-4)


def test_another_run_in_the_same_folder_is_refused(faces: Path, tmp_path: Path) -> None:
    pretrain(tiny_run(faces), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds another run; it differs in recipe\.mask_ratio"):
        pretrain(tiny_run(faces, recipe={"mask_ratio": 0.5}), tmp_path / "run")
    write_pictures(faces, 40)
    with pytest.raises(ConfigError, match=r"it differs in fingerprint"):
        pretrain(tiny_run(faces), tmp_path / "run")


def test_a_folder_in_use_is_refused(faces: Path, tmp_path: Path) -> None:
    def told(step: int, epoch: int, loss: float) -> None:
        with pytest.raises(ConfigError, match="is being trained in by another process"):
            pretrain(tiny_run(faces), tmp_path / "run")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny_run(faces), tmp_path / "run", told=told)
    assert pretrain(tiny_run(faces), tmp_path / "run").resumed == 0


def test_unreadable_images_are_counted_and_named_over_a_resume(faces: Path, tmp_path: Path) -> None:
    for number in (3, 4):
        (faces / f"{number:03d}.png").write_bytes(b"broken")
    config = tiny_run(faces, recipe={"epochs": 6})
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "run", told=interrupt_at(20))
    assert pretrain(config, tmp_path / "run").unreadable == [str(faces / "003.png"), str(faces / "004.png")]


@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ({"recipe": {"mask_ratio": 0.99}}, ConfigError, "mask_ratio = 0.99 leaves 0 of 16 patches visible"),
        ({"recipe": {"batch_size": 64}}, DataError, "33 images are fewer than one batch takes (64)"),
        ({"run": {"accumulation": 3}}, ConfigError, "batch_size = 8 cannot be divided among 1 process(es) with 3"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    faces: Path, tmp_path: Path, changes: dict, error: type, line: str
) -> None:
    with pytest.raises(error) as raised:
        pretrain(tiny_run(faces, **changes), tmp_path / "run")
    assert line in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_the_tiny_house_is_small() -> None:
    assert sum(value.numel() for value in build_model(tiny_run("synthetic")).parameters()) < 10_000
    assert TINY["recipe"]["epochs"] == 3
