"""Checks of the smoother base class, and normalisation of rows."""

from typing import Any

import numpy as np
import pytest

from fusionkit.contracts import CausalSmoother, Clip, Smoother
from fusionkit.errors import DataError, PluginError

X = np.random.default_rng(0).dirichlet(np.ones(4), size=6)
NUMBERS = np.arange(6)


class Given(Smoother):
    """Returns a given result."""

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
    ("values", "message"),
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
def test_results_that_break_the_contract_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Given(values)(X, NUMBERS)


class Rated(Smoother):
    """Weighs by the rate."""

    needs_rate = True

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        return x * np.arange(1, x.shape[1] + 1) ** (clip.rate or 0)


def test_a_clip_of_unknown_rate_is_refused_by_name_unless_it_is_one_frame() -> None:
    expected = X * np.arange(1, 5) ** 0.5
    np.testing.assert_allclose(Rated()(X, Clip("a", NUMBERS, 0.5)), expected / expected.sum(1, keepdims=True))
    with pytest.raises(DataError, match="smoother Rated needs the frames per second of clip 'a', which are unknown"):
        Rated()(X, Clip("a", NUMBERS))
    with pytest.raises(DataError, match="of the clip, which are unknown"):
        Rated()(X, NUMBERS)
    np.testing.assert_allclose(Rated()(X[:1], Clip("a", NUMBERS[:1])), X[:1])


class Beside(Smoother):
    """Adds embeddings."""

    needs_embeddings = True

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        assert clip.embeddings is not None
        assert not clip.embeddings.flags.writeable
        return x + clip.embeddings


def test_embeddings_beside_the_predictions_are_those_of_the_clip_and_required() -> None:
    expected = X + X[::-1]
    found = Beside()(X, Clip("a", NUMBERS, embeddings=X[::-1].copy()))
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True))
    with pytest.raises(DataError, match="smoother Beside needs the embeddings of clip 'a', which are unknown"):
        Beside()(X, Clip("a", NUMBERS))
    assert [cls.reads_embeddings() for cls in (Beside, OnEmbeddings, Given)] == [True, True, False]


# -- frame by frame ----------------------------------------------------------------------------------------------------


class Summed(CausalSmoother):
    """All frames so far, added up, those before a gap counted half."""

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        total, last = past or (np.zeros(x.shape[1]), int(frame_numbers[0]))
        out = []
        for row, number in zip(x, frame_numbers.tolist(), strict=True):
            total = total * (0.5 if number - last > 1 else 1.0) + row
            last = number
            out.append(total)
        return np.array(out), (total, last)


GAPS = np.array([3, 4, 7, 8, 9, 20])


def test_a_causal_smoother_gives_the_same_result_in_pieces() -> None:
    assert Summed.causal
    found = Summed()(X, GAPS)
    by_hand, total = [], np.zeros(4)
    for row, halved in zip(X, [0, 0, 1, 0, 0, 1], strict=True):
        total = total / (2 if halved else 1) + row
        by_hand.append(total / total.sum())
    np.testing.assert_allclose(found, by_hand, rtol=1e-15)
    assert Summed().smooth(X[:0], GAPS[:0]).shape == (0, 4)


def test_a_stream_gives_the_bits_of_the_whole_clip_beside_another_stream() -> None:
    smoother = Summed()
    one, two = smoother.stream(), smoother.stream()
    first = [one(row, int(number)) for row, number in zip(X[:3], GAPS[:3], strict=True)]
    other = [two(row, number) for number, row in enumerate(X[::-1])]
    first += [one(row, int(number)) for row, number in zip(X[3:], GAPS[3:], strict=True)]
    np.testing.assert_array_equal(first, smoother(X, GAPS))
    np.testing.assert_array_equal(other, smoother(X[::-1], NUMBERS))
    one.reset()
    np.testing.assert_array_equal([one(row, number) for number, row in enumerate(X)], smoother(X, NUMBERS))


@pytest.mark.parametrize("classes", [2, 7, 8, 9, 33])
def test_the_sum_of_a_row_is_the_same_in_a_clip_and_alone(classes: int) -> None:
    class Columns(Summed):
        def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
            return np.asfortranarray(x), None

    x = np.random.default_rng(0).random((50, classes)) ** 9 * 1e-5
    stream = Columns().stream()
    np.testing.assert_array_equal([stream(row, number) for number, row in enumerate(x)], Columns()(x, np.arange(50)))


@pytest.mark.parametrize("number", [8, 7, -1])
def test_unordered_frames_are_refused_and_change_nothing(number: int) -> None:
    stream = Summed().stream()
    stream(X[0], 8)
    with pytest.raises(DataError, match=f"frame {number} comes after frame 8"):
        stream(X[1], number)
    np.testing.assert_array_equal(stream(X[1], 9), Summed()(X[:2], np.array([8, 9]))[1])


def test_a_step_is_checked_like_a_clip() -> None:
    class Lost(Summed):
        def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
            return x - 1, None

    with pytest.raises(PluginError, match="smoother Lost gave a negative weight"):
        Lost().stream()(X[0], 0)


def test_a_smoother_without_steps_is_refused_with_the_reason() -> None:
    with pytest.raises(PluginError, match=r"Given cannot smooth frame by frame: it uses later frames.*causal smoother"):
        Given(X).stream()(X[0], 0)

    class Claims(Given):
        causal = True

    with pytest.raises(PluginError, match=r"it is causal but has no step\(\).*CausalSmoother"):
        Claims(X).stream()(X[0], 0)


def test_a_smoother_has_no_stored_state_by_default() -> None:
    assert Given(X).state() is None
    with pytest.raises(PluginError, match=r"Given cannot restore its learned state.*state\(\) and restore\(\)"):
        Given(X).restore({"share": X})
