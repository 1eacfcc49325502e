"""The smoother that does nothing."""

import numpy as np

from fusionkit_smoothers.none import NoSmoother


def test_probabilities_come_back_unchanged_whatever_the_frame_numbers():
    x = np.random.default_rng(0).dirichlet(np.ones(4), size=30)
    numbers = np.cumsum(np.random.default_rng(1).integers(1, 50, size=30))
    np.testing.assert_array_equal(NoSmoother().smooth(x, numbers), x)
    np.testing.assert_allclose(NoSmoother()(x, numbers), x, atol=1e-15)


def test_it_is_declared_causal():
    assert NoSmoother.causal
    assert NoSmoother.needs == "probs"
