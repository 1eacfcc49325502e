"""The curve over shares of labels: who keeps labels, what is trained, what the table says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionkit.registry import DATASETS
from fusionkit.stats.crossed import Estimate

SMALL = "synthetic:train=10,val=3,test=3,clips=4,clip_length=8"


@pytest.fixture
def curve(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("label_fraction")


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
    request = curve.Request(SMALL, SMALL, 64, 2, Path())
    sizes = [request.labels(share) for share in (0.3, 1.0)]
    assert [size.units for size in sizes] == [3, 10]
    for size in sizes:
        assert size.epochs == min(max(round(curve.STEPS * curve.BATCH / size.frames), 4), 64)


@pytest.mark.slow
def test_a_fine_tuning_gives_the_counts_of_all_test_frames(
    curve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "EPOCHS", (2, 2))
    request = curve.Request(SMALL, SMALL, 16, 1, tmp_path)
    counts = curve.counts_of(request.labels(0.3), request.random(0), 0, tmp_path / "run")
    table = DATASETS.build(SMALL).frames
    tested = (table.split == "test") & (table.label >= 0)
    truth = [
        np.bincount(table.label[tested & (table.unit == unit)], minlength=8) for unit in np.unique(table.unit[tested])
    ]
    assert np.array_equal(counts.sum(-1), truth)


def test_the_table_holds_both_arms_and_their_difference(curve: ModuleType) -> None:
    good, bad = np.tile(np.diag([6, 6]), (2, 9, 1, 1)), np.tile([[3, 3], [3, 3]], (2, 9, 1, 1))
    sizes = {0.5: curve.Labels({}, 4, 40, 7), 1.0: curve.Labels({}, 8, 80, 4)}
    counts = {("pretrained", share): good for share in sizes} | {("scratch", share): bad for share in sizes}
    head, rule, *rows = curve.table(counts, sizes)
    assert head.count("|") == rule.count("|") == 9
    assert rows[0].startswith("| 50% | 4 | 40 | 7 | .500 [.500, .500] | 1.000 [1.000, 1.000] | +.500 [+.500, +.500] | ")
    assert rows[0].split("|")[8].strip() == "<.001"  # no unit and no seed differs


def test_the_picture_has_a_line_an_arm_with_its_intervals(
    curve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(Axes, "errorbar", lambda _, x, y, error, **how: drawn.update({how["label"]: (x, y, error)}))
    monkeypatch.setattr(Figure, "legend", lambda *_, **__: None)
    rising = [Estimate(value, low, high, 0.1, 9, 2) for value, low, high in ((0.2, 0.1, 0.4), (0.5, 0.3, 0.6))]
    curve.draw({"scratch": rising[:1] * 2, "pretrained": rising}, (0.05, 1.0), tmp_path / "curve.png")
    x, y, error = drawn["pre-trained"]
    assert x == pytest.approx([0.05, 1.0], rel=0.05)
    assert y.tolist() == [0.2, 0.5]
    assert np.allclose(error, [[0.1, 0.2], [0.2, 0.1]])
    assert drawn["from random weights"][1].tolist() == [0.2, 0.2]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
