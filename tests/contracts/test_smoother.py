"""What the base of smoothers checks, and that rows are made to sum to one."""

from typing import Any

import numpy as np
import pytest

from fusionkit.contracts import Smoother
from fusionkit.errors import PluginError

X = np.random.default_rng(0).dirichlet(np.ones(4), size=6)
NUMBERS = np.arange(6)


class Given(Smoother):
    """Gives what it was told to."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return self.values  # type: ignore[no-any-return]


class OnEmbeddings(Given):
    """Turns embeddings into weights of another width."""

    needs = "embeddings"


def test_each_row_is_divided_by_its_sum() -> None:
    weights = np.array([[2, 0, 6, 0]] * 5 + [[1, 1, 1, 1]], dtype=np.float32)
    got = Given(weights)(X, NUMBERS)
    assert got.dtype == np.float64
    assert got.tolist() == [[0.25, 0, 0.75, 0]] * 5 + [[0.25] * 4]


def test_weights_from_embeddings_may_have_another_width() -> None:
    assert OnEmbeddings(np.ones((6, 2)))(X, NUMBERS).tolist() == [[0.5, 0.5]] * 6
    with pytest.raises(PluginError, match=r"gave \(5, 2\) for \(6, 4\)"):
        OnEmbeddings(np.ones((5, 2)))(X, NUMBERS)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (X[:5], r"smoother Given gave \(5, 4\) for \(6, 4\)"),
        (X[:, :3], r"gave \(6, 3\) for \(6, 4\)"),
        (X[:, 0], r"gave \(6,\) for \(6, 4\)"),
        (np.where(X.max() == X, np.nan, X), "not finite"),
        (np.where(X.max() == X, np.inf, X), "not finite"),
        (X - 0.5, "negative weight or a row without weight"),
        (X * (np.arange(6) > 0)[:, None], "negative weight or a row without weight"),
    ],
)
def test_what_breaks_the_contract_is_refused(values: np.ndarray, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        Given(values)(X, NUMBERS)
