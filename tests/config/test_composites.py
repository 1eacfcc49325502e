"""Made-up frames and splits: they change no part of the real ones, and never reach dev or test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_tasks import divided

from fusionkit.config.splits import Composites
from fusionkit.contracts import FrameTable
from fusionkit.registry.spec import Spec

CLASSES = ("calm", "glad")


def with_composites(seed: int, made: int) -> tuple[FrameTable, FrameTable, Composites]:
    """Real frames of 40 units; the same with composites of any two frames behind them, also of two units."""
    rng = np.random.default_rng(seed)
    clip = np.repeat([f"u{unit:02d}" for unit in range(40)], 5)
    split = np.repeat([("train", "train", "val")[unit % 3] for unit in range(40)], 5)
    label = rng.integers(0, 2, 200)
    real = FrameTable.of(clip, np.tile(np.arange(5), 40), label, split=split)
    sources = rng.integers(0, 200, (made, 2))
    whole = FrameTable.of(
        np.r_[clip, [f"made{k:02d}" for k in range(made)]],
        np.r_[real.number, np.zeros(made, int)],
        np.r_[label, rng.integers(0, 2, made)],
        split=np.r_[split, ["train"] * made],
    )
    return real, whole, Composites(np.arange(200, 200 + made), real.unit[sources])


@given(seed=st.integers(0, 500), split=st.sampled_from(["official", "holdout:test=0.3", "kfold:k=3"]))
@pytest.mark.slow
def test_real_frames_are_divided_as_without_composites_which_join_train_where_all_their_units_do(
    seed: int, split: str
) -> None:
    real, whole, composites = with_composites(seed, 30)
    folds, _ = divided(Spec.parse(split), whole, CLASSES, composites)
    plain, _ = divided(Spec.parse(split), real, CLASSES)
    assert len(folds) == len(plain)
    for fold, alone in zip(folds, plain, strict=True):
        assert fold.name == alone.name
        assert np.array_equal(fold.part[:200], alone.part)
        part_of = dict(zip(real.unit.tolist(), alone.part.tolist(), strict=True))
        for part, units in zip(fold.part[200:].tolist(), composites.units.tolist(), strict=True):
            assert part == ("train" if all(part_of[unit] == "train" for unit in units) else "")


def test_a_composite_of_fewer_frames_has_empty_places() -> None:
    _, whole, composites = with_composites(0, 4)
    lone = Composites(composites.rows, np.array([["u00", ""], ["u02", ""], ["u00", "u02"], ["", ""]]))
    (fold,), _ = divided(Spec("official"), whole, CLASSES, lone)
    in_train = fold.part[0] == "train"
    assert fold.part[200:].tolist() == ["train" if in_train else "", "", "", "train"]  # u02 is in val


@pytest.mark.parametrize("made", [0, 5])
def test_the_digest_of_a_fold_depends_on_composites(made: int) -> None:
    real, whole, composites = with_composites(1, made)
    (fold,), _ = divided(Spec("official"), whole, CLASSES, composites)
    (plain,), _ = divided(Spec("official"), real, CLASSES)
    assert (fold.digest == plain.digest) == (made == 0)
