"""How classes become facial actions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit_synthetic.action import COLUMN, UNITS, actions, sides
from fusionkit_synthetic.expression import CLASSES, OTHERS, PROTOTYPES, draw_expression


@given(seed=st.integers(0, 2**32), name=st.sampled_from(CLASSES), blur=st.floats(0, 1), strength=st.floats(0.8, 1.2))
def test_intensities_stay_between_none_and_full(seed, name, blur, strength):
    intensity = draw_expression(np.random.default_rng(seed), name, strength, blur)
    assert intensity.shape == (2, len(UNITS))
    assert intensity.min() >= 0
    assert intensity.max() <= 1


@pytest.mark.parametrize("name", sorted(PROTOTYPES))
def test_without_blur_only_the_prototype_and_at_least_two_of_its_units_act(name):
    for seed in range(60):
        intensity = draw_expression(np.random.default_rng(seed), name, 1.0, 0.0)
        acting = {unit for unit in UNITS if intensity[:, COLUMN[unit]].max() > 0}
        assert acting <= set(PROTOTYPES[name]) | {25}  # a dropped jaw parts the lips
        assert len(acting) >= 2


def test_units_take_part_about_as_often_as_their_prototype_says():
    drawn = np.stack([draw_expression(np.random.default_rng(seed), "Fear", 1.0, 0.0)[0] for seed in range(800)])
    for unit in (1, 2, 4, 5, 7, 20, 38):
        mean, probability = PROTOTYPES["Fear"][unit]
        values = drawn[:, COLUMN[unit]]
        assert (values > 0).mean() == pytest.approx(probability, abs=0.07)
        assert values[values > 0].mean() == pytest.approx(min(1.15 * mean, 1.0), rel=0.08)


def test_neutral_is_still_without_blur_and_nearly_so_with_it():
    rng = np.random.default_rng(0)
    assert draw_expression(rng, "Neutral", 1.0, 0.0).max() == 0
    assert np.mean([draw_expression(rng, "Neutral", 1.0, 0.5).max() for _ in range(200)]) < 0.2


def test_contempt_and_doubt_are_one_sided():
    lopsided = 0
    for seed in range(300):
        intensity = draw_expression(np.random.default_rng(seed), "Other", 1.0, 0.0)
        low, high = np.sort(intensity[:, [COLUMN[14], COLUMN[2]]].sum(1))
        lopsided += high > 0.3 and low < 0.25 * high
    assert 0.5 * 2 / len(OTHERS) < lopsided / 300 < 1.6 * 2 / len(OTHERS)


def test_actions_and_sides_are_inverse():
    left, right = sides(actions({12: 0.5}, {4: 0.25}))
    assert (left[12], right[12], left[4], right[4]) == (0.5, 0.0, 0.0, 0.25)
    assert sum(left.values()) + sum(right.values()) == 0.75
