"""Each way that is timed does the work it is timed for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

Load = Callable[[str], ModuleType]


@pytest.fixture
def heads(load_benchmark: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The benchmark of heads with little data in ``tmp_path``."""
    module = load_benchmark("heads")
    for name, count in (("TRAIN", 80), ("DEV", 40), ("TEST", 30)):
        monkeypatch.setattr(module, name, count)
    for name, values in module.features("").items():
        np.save(tmp_path / f"{name}.npy", values)
    return module


def test_heads_are_trained_by_the_engine_and_by_loops(heads: ModuleType, tmp_path: Path) -> None:
    head = heads.fusionkit(str(tmp_path), 2, "mlp")()
    assert head.test_logits.shape == (30, 7)
    assert len(head.history) == 2
    assert head.params == 2700 * 256 + 256 + 256 * 7 + 7
    heads.tight_loop(str(tmp_path), 1)()
    heads.tight_loop(str(tmp_path), 1, "gated")()
    heads.PEERS["DataLoader"](str(tmp_path), 1)()


def test_training_features_are_standardised(heads: ModuleType, tmp_path: Path) -> None:
    data = heads.Data.read(str(tmp_path))
    np.testing.assert_allclose(data.train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.std(0), 1, atol=1e-4)
    assert set(data.train_label.tolist()) <= set(range(7))


def test_every_fusion_that_takes_pooled_views_has_a_line(heads: ModuleType) -> None:
    names = list(heads.trained())
    assert names[0] == "mlp"
    assert {"concat", "gated", "logit-mean"} <= set(names)
    assert not {"perceiver", "stacking"} & set(names)
    assert len(names) == len(set(names))


def test_each_way_of_attention_gives_the_same_gradients(load_benchmark: Load) -> None:
    attention = load_benchmark("attention")
    sums = [attention.step(way, width=256, std=1.0, batch=16)() for way in attention.WAYS]
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)
    assert sums[0] > 0


@pytest.mark.slow
def test_faces_are_embedded_by_the_engine_and_by_the_plain_loop(load_benchmark: Load) -> None:
    pytest.importorskip("torchvision")
    embedding = load_benchmark("embedding")
    with embedding.drawn(4) as faces:
        assert len(list(Path(faces).rglob("*.jpg"))) == 4
        for way in (embedding.fusionkit, embedding.plain):
            way(faces, "test_vit", 2, 4)()


def test_a_command_is_timed_until_it_shows_some_words(load_benchmark: Load) -> None:
    startup = load_benchmark("startup")
    talks = "import time; print('one'); print('embed', flush=True); time.sleep(60)"
    cost = startup.until([sys.executable, "-c", talks], b"embed")
    assert 0 <= cost.cpu <= cost.wall + 0.05
    assert cost.wall < 30
    with pytest.raises(RuntimeError, match="never got so far"):
        startup.until([sys.executable, "-c", "print('one')"], b"embed")


def test_a_grid_grows_along_one_axis_only(load_benchmark: Load) -> None:
    from fusionkit.config.views import View

    growth = load_benchmark("growth")
    assert len({View.parse(view) for view in growth.VIEWS}) == len(growth.VIEWS) == max(growth.FACTORS)
    one, many = growth.request(0.01), growth.request(0.01, smoothers=8)
    assert len(many.pop("smoothers")) == 8 * len(one.pop("smoothers"))
    assert one == many
