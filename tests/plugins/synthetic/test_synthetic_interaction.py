"""Labels that depend on one region, on either of two, or on both together, and the fusions that find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusionkit.api import bench
from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_synthetic.synthetic import Synthetic

SMALL = {"train": 6, "val": 4, "test": 5, "clips": 4, "clip_length": 24, "missing": 0.0}


def made(kind: str, **options: float) -> Synthetic:
    return Synthetic(**SMALL, interaction=kind, **options)  # type: ignore[arg-type]


def agreement(cue: np.ndarray, label: np.ndarray) -> float:
    return float((cue == label).mean())


@pytest.mark.parametrize(
    ("kind", "eye", "mouth", "differ"),
    [("unique", 0.5, 0.9, 0.5), ("redundant", 0.9, 0.9, 0.5), ("synergy", 0.5, 0.5, 0.9)],
)
def test_the_label_hides_where_it_should(kind: str, eye: float, mouth: float, differ: float) -> None:
    data = Synthetic(train=40, val=10, test=10, clips=8, clip_length=20, interaction=kind)  # type: ignore[arg-type]
    label = data.table().label
    shut, opened = data._cast.drawn[:, 0], data._cast.drawn[:, 1]  # type: ignore[union-attr]
    # 9,600 frames: four standard errors are .02
    assert agreement(shut, label) == pytest.approx(eye, abs=0.02)
    assert agreement(opened, label) == pytest.approx(mouth, abs=0.02)
    if kind != "redundant":
        assert agreement(shut ^ opened, label) == pytest.approx(differ, abs=0.02)
    assert data.best(("eye",)) == pytest.approx(eye)
    assert data.best(("mouth",)) == pytest.approx(mouth)
    assert data.best(("eye", "mouth")) == pytest.approx(0.9)
    assert label.mean() == pytest.approx(0.5, abs=0.02)


def test_eyes_and_mouths_are_drawn_as_they_are_noted() -> None:
    data = made("synergy", difficulty=0.0, noise=0.0)
    rows = np.arange(24)  # one person, one clip
    shut, opened = data._cast.drawn[rows, 0], data._cast.drawn[rows, 1]  # type: ignore[union-attr]
    images = np.stack([image for image in data.read(rows) if image is not None]).astype(float)
    for cue, band in ((shut, slice(44, 60)), (opened, slice(82, 104))):
        part = images[:, band, 30:82].mean(3)
        one, zero = part[cue].mean(0), part[~cue].mean(0)
        inside = np.mean([np.abs(part[cue] - one).mean(), np.abs(part[~cue] - zero).mean()])
        assert np.abs(one - zero).max() > 4 * inside


def test_the_table_is_valid_reading_is_repeatable_and_missing_frames_have_no_image() -> None:
    data = made("redundant")
    table = data.table()
    assert data.classes == ("zero", "one")
    assert len(table) == 15 * 4 * 24
    assert len(set(table.subject)) == 15
    first = data.read(np.array([5, 300]))
    again = made("redundant").read(np.array([300, 5]))
    assert np.array_equal(first[0], again[1])
    assert np.array_equal(first[1], again[0])
    holes = Synthetic(**{**SMALL, "missing": 0.3}, interaction="unique")  # type: ignore[arg-type]
    lacking = np.mean([image is None for image in holes.read(np.arange(200))])
    assert 0.15 < lacking < 0.45


def test_wrong_options_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="interaction = 'xor' must be one of: none, unique, redundant, synergy"):
        DATASETS.build(Spec("synthetic", {"interaction": "xor"}))
    with pytest.raises(ConfigError, match=r"label_noise = 0\.7 must be at least 0 and at most 0\.4"):
        DATASETS.build(Spec("synthetic", {"interaction": "unique", "label_noise": 0.7}))
    with pytest.raises(ConfigError, match="label_noise requires an interaction"):
        Synthetic(label_noise=0.1)
    with pytest.raises(ConfigError, match="only with an interaction"):
        Synthetic().best(("eye",))


@pytest.mark.slow
def test_an_additive_late_fusion_cannot_solve_synergy_and_single_views_solve_redundancy(tmp_path: Path) -> None:
    """Scores are of 450 frames of persons not in train; the highest possible is .9, chance .5."""
    sizes = "train=8,val=4,test=5,clips=3,clip_length=30,missing=0,difficulty=0.3"
    results = bench(
        datasets=[f"synthetic:interaction={kind},{sizes}" for kind in ("redundant", "synergy")],
        backbones=["hog:size=32"],
        main="none",
        regions=["eye", "mouth", "eye,mouth"],
        fusions=["logit-mean", "mlp"],
        smoothers=["none"],
        reference="none",
        seeds=1,
        out=tmp_path / "run",
        executor="serial",
    )
    found = {
        ("synergy" if "synergy" in row.axes.dataset else "redundant", row.axes.views, row.axes.fusion): row.score.value
        for row in results.rows
        if row.score
    }
    assert len(found) == 12
    for view in ("eye", "mouth"):
        assert found["redundant", view, "mlp"] > 0.8
        assert found["redundant", view, "logit-mean"] > 0.8
        assert found["synergy", view, "mlp"] < 0.6
    assert found["synergy", "eye,mouth", "logit-mean"] < 0.6
    assert found["synergy", "eye,mouth", "mlp"] > 0.7
    assert max(found.values()) < 0.95  # three standard errors above the best
