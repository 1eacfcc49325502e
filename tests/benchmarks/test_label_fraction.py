"""The curve over shares of labels: who keeps labels, what is trained, what the table says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from safetensors.torch import load_file

import fusionkit
from fusionkit.api import Results
from fusionkit.registry import DATASETS
from fusionkit.stats.crossed import Estimate

SMALL = "synthetic:train=10,val=3,test=3,clips=4,clip_length=8"


@pytest.fixture
def curve(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("label_fraction")


@pytest.fixture(scope="module")
def small_heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Two runs of the same rows on different features."""
    return {
        arm: fusionkit.bench(
            datasets="synthetic:train=12,val=6,test=8,clips=4,clip_length=6",
            backbones=backbone,
            regions="eye",
            fusions="plain-concat",
            smoothers="none",
            recipe={"epochs": 3},
            seeds=3,
            out=tmp_path_factory.mktemp(arm) / "run",
        )
        for arm, backbone in (("scratch", "hog:size=16"), ("pretrained", "hog:size=32"))
    }


def labelled(curve: ModuleType, share: float, split: str = "train") -> set[str]:
    table = curve.FewerLabels(SMALL, share).frames
    return set(table.unit[(table.split == split) & (table.label >= 0)].tolist())


def test_smaller_shares_are_parts_of_larger_ones(curve: ModuleType) -> None:
    kept = [labelled(curve, share) for share in (0.3, 0.5, 0.8, 1.0)]
    assert [len(units) for units in kept] == [3, 5, 8, 10]
    assert all(less < more for less, more in pairwise(kept))


def test_a_unit_keeps_all_its_labels_or_none_and_other_splits_keep_theirs(curve: ModuleType) -> None:
    whole, fewer = DATASETS.build(SMALL).frames, curve.FewerLabels(SMALL, 0.3).frames
    kept = np.isin(whole.unit, list(labelled(curve, 0.3))) | (whole.split != "train")
    assert np.array_equal(fewer.label, [label if keep else -1 for label, keep in zip(whole.label, kept, strict=True)])
    assert np.array_equal(fewer.clip, whole.clip)


def test_the_first_units_show_every_class(curve: ModuleType) -> None:
    table = curve.FewerLabels(SMALL, 0.3).frames
    assert set(table.label[(table.split == "train") & (table.label >= 0)].tolist()) == set(range(8))


def test_few_labels_do_not_mean_few_steps(curve: ModuleType) -> None:
    request = curve.Request(SMALL, [SMALL], 64, Path(), shares=(0.3, 1.0), seeds=(3, 1), steps=100, epochs=(5, 16))
    few, all_ = request.labels.values()
    assert (few.units, few.frames, few.epochs, few.seeds) == (3, 88, 16, 3)  # 100 * 16 / 88 = 18.2
    assert (all_.units, all_.frames, all_.epochs, all_.seeds) == (10, 292, 5, 1)


def test_pretraining_reads_every_source_and_later_options_win(
    curve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: ran.append(words[3:]))
    request = curve.Request(SMALL, ["faces", "more"], 48, tmp_path, pretrain=["recipe.epochs=2"])
    assert request.pretrained() == tmp_path / "pretrained/encoder.safetensors"
    (words,) = ran
    pairs = list(zip(words[2::2], words[3::2], strict=True))
    assert [value for name, value in pairs if name == "--data"] == ["faces", "more"]
    sets = [value for name, value in pairs if name == "--set"]
    assert sets == ["encoder.size=48", "recipe.epochs=20", "recipe.epochs=2"]


def test_the_random_network_has_the_spread_of_one_that_pretraining_starts_from(
    curve: ModuleType, tmp_path: Path
) -> None:
    """Timm's own start is narrower in small networks, and learns later: the comparison would favour pre-training."""
    request = curve.Request(SMALL, [SMALL], 16, tmp_path)
    weights = load_file(request.random(0))
    layers = {name: value.flatten(1) for name, value in weights.items() if name.endswith("weight") and value.dim() > 1}
    assert len(layers) == 17  # of four blocks, and the patch embedding
    for name, value in layers.items():
        rows, columns = value.shape
        assert 0.98 < value.abs().max() / (6 / (rows + columns)) ** 0.5 <= 1, name
    assert not torch.equal(weights["cls_token"], load_file(request.random(1))["cls_token"])


@pytest.mark.slow
def test_a_fine_tuning_gives_the_counts_of_all_test_frames(curve: ModuleType, tmp_path: Path) -> None:
    request = curve.Request(SMALL, [SMALL], 16, tmp_path, shares=(0.3,), epochs=(2, 2))
    counts = request.counts_of(("eye+mouth", "scratch", 0.3), 0, request.random(0))
    assert (
        json.loads((tmp_path / "eye+mouth-scratch-0.3-0/grid.json").read_text())["rows"][0]["axes"]["views"]
        == "eye+mouth"
    )
    table = DATASETS.build(SMALL).frames
    tested = (table.split == "test") & (table.label >= 0)
    truth = [
        np.bincount(table.label[tested & (table.unit == unit)], minlength=8) for unit in np.unique(table.unit[tested])
    ]
    assert np.array_equal(counts.sum(-1), truth)


def test_the_table_holds_both_arms_and_their_difference(curve: ModuleType) -> None:
    good, bad = np.tile(np.diag([6, 6]), (2, 9, 1, 1)), np.tile([[3, 3], [3, 3]], (2, 9, 1, 1))
    sizes = {0.5: curve.Labels({}, 4, 40, 7, 2), 1.0: curve.Labels({}, 8, 80, 4, 1)}
    counts = {("face", "pretrained", share): good[: size.seeds] for share, size in sizes.items()}
    counts |= {("face", "scratch", share): bad[: size.seeds] for share, size in sizes.items()}
    head, rule, *rows = curve.table(counts, sizes)
    assert {line.count("|") for line in (head, rule, *rows)} == {12}
    first = [cell.strip() for cell in rows[0].split("|")[1:-1]]
    assert first[:6] == ["face", "50%", "4", "40", "7", "2"]
    assert first[6:9] == [".500 [.500, .500]", "1.000 [1.000, 1.000]", "+.500 [+.500, +.500]"]
    assert first[9:] == ["<.001", ".500, 1.000"]  # no unit and no seed differs
    assert rows[1].split("|")[10].strip() == ""  # one seed has no p


@pytest.mark.slow
def test_heads_stand_beside_each_other_by_backbone(curve: ModuleType, small_heads: dict[str, Results]) -> None:
    head, rule, *rows = curve.head_table(small_heads)
    assert {line.count("|") for line in (head, rule, *rows)} == {7}
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [each[:2] for each in cells] == [["face", "linear"], ["face,eye", "plain-concat"]]
    for each, random, trained in zip(cells, small_heads["scratch"].rows, small_heads["pretrained"].rows, strict=True):
        assert each[2].startswith(curve.score_text(random.score))
        assert each[3].startswith(curve.score_text(trained.score))
        gain = trained.score.value - random.score.value
        assert each[4].startswith(curve.number(gain, "+"))
    assert "] +" in cells[1][2] or "] -" in cells[1][2]
    assert cells[0][2].endswith("]")  # the reference has no difference to itself


def test_the_picture_has_a_line_an_arm_with_its_intervals(
    curve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(Axes, "errorbar", lambda _, x, y, error, **how: drawn.update({how["label"]: (x, y, error)}))
    monkeypatch.setattr(Figure, "legend", lambda *_, **__: None)
    rising = [Estimate(value, low, high, 0.1, 9, 2) for value, low, high in ((0.2, 0.1, 0.4), (0.5, 0.3, 0.6))]
    curve.draw({"from random weights": rising[:1] * 2, "pre-trained": rising}, (0.05, 1.0), tmp_path / "curve.png")
    x, y, error = drawn["pre-trained"]
    assert x == pytest.approx([0.05, 1.0], rel=0.05)
    assert y.tolist() == [0.2, 0.5]
    assert np.allclose(error, [[0.1, 0.2], [0.2, 0.1]])
    assert drawn["from random weights"][1].tolist() == [0.2, 0.2]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
