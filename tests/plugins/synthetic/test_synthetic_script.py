"""What happens in a clip, and how it is labelled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit_synthetic.script import NEUTRAL, VISIBLE, Episode, draw_script


def test_an_envelope_rises_holds_and_falls():
    episode = Episode(label=4, start=6, end=10, onset=4, offset=2)
    expected = []
    for t in range(16):
        ramp = min(max(0.0, 1 - max(0, 6 - t) / 4), max(0.0, 1 - max(0, t - 10) / 2), 1.0)
        expected.append(3 * ramp**2 - 2 * ramp**3)
    np.testing.assert_allclose(episode.envelope(16), expected, atol=1e-12)
    assert episode.envelope(16)[[2, 6, 10, 12]].tolist() == [0, 1, 1, 0]


@given(seed=st.integers(0, 2**32), wanted=st.integers(0, 7), length=st.integers(6, 60), unlabelled=st.floats(0.0, 0.3))
def test_labels_follow_the_strongest_visible_expression(seed, wanted, length, unlabelled):
    script = draw_script(np.random.default_rng(seed), wanted, length, 0.02, unlabelled)
    assert (script.label == wanted).any()
    shares = [episode.envelope(length) for episode in script.episodes]
    for t in range(length):
        label, best = NEUTRAL, VISIBLE
        for episode, share in zip(script.episodes, shares, strict=True):
            if share[t] >= best:
                label, best = episode.label, share[t]
        assert script.label[t] in (label, -1)


@given(seed=st.integers(0, 2**32), length=st.integers(6, 60))
def test_an_unlabelled_span_is_one_run_at_an_end(seed, length):
    script = draw_script(np.random.default_rng(seed), 3, length, 0.0, 0.3)
    known = np.flatnonzero(script.label >= 0)
    assert len(known) == known[-1] - known[0] + 1
    assert known[0] == 0 or known[-1] == length - 1


@pytest.mark.parametrize(("missing", "unlabelled"), [(0.02, 0.05), (0.1, 0.2)])
def test_shares_of_missing_and_unlabelled_frames_are_about_those_asked_for(missing, unlabelled):
    scripts = [draw_script(np.random.default_rng(seed), seed % 8, 16, missing, unlabelled) for seed in range(3000)]
    assert np.mean([~script.image for script in scripts]) == pytest.approx(missing, rel=0.3)
    assert np.mean([script.label == -1 for script in scripts]) == pytest.approx(unlabelled, rel=0.3)


def test_some_clips_begin_or_end_neutral_and_some_hold_two_expressions():
    scripts = [draw_script(np.random.default_rng(seed), 5, 20, 0.0, 0.0) for seed in range(400)]
    edges = np.mean([script.label[0] == NEUTRAL or script.label[-1] == NEUTRAL for script in scripts])
    double = np.mean([len(script.episodes) == 2 for script in scripts])
    assert 0.3 < edges < 0.95
    assert 0.1 < double < 0.4
