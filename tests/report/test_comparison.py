"""Paired comparisons of two rows of a run folder, against statistics of their counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moderated import difference_estimate, score_estimate
from naive_stats import make_pair
from toy_folder import Toy, write_folder
from toy_tasks import permutation_p

from fusionkit.errors import ConfigError, DataError
from fusionkit.report.comparison import Comparison, caption, warnings
from fusionkit.report.run import Results
from fusionkit.stats.intervals import holm

EYE = {"views": "face,eye", "fusion": "concat"}
NAMES = ("calm", "glad", "sad", "angry")


def compared(path: Path, a: np.ndarray, b: np.ndarray) -> Comparison:
    return write_folder(path, [Toy({}, b, classes=NAMES), Toy(EYE, a, classes=NAMES)]).compare("concat", "linear")


def test_numbers_are_those_of_the_pooled_counts(tmp_path: Path) -> None:
    a, b = make_pair(0, 25, seeds=3, gain=1.0)
    found = compared(tmp_path, a, b)
    assert [repr(each) for each in (found.overall.a, found.overall.b)] == [
        repr(score_estimate(each, [b, a])) for each in (a, b)
    ]
    assert found.overall.difference == difference_estimate(a, b, [b, a])
    assert found.overall.p == found.overall.difference.p
    assert found.n_frames == a[0].sum()
    assert found.seeds == ([0, 1, 2], [0, 1, 2])
    assert [each.name for each in found.classes] == list(NAMES)
    np.testing.assert_array_equal(
        [each.p for each in found.classes], holm(np.array([each.difference.p for each in found.classes]))
    )
    truth = a[0].sum(-1)
    for name, each in enumerate(found.classes):
        f1 = [2 * s[:, name, name].sum() / (s[:, name].sum() + s[:, :, name].sum()) for s in a]
        assert each.a.value == pytest.approx(np.mean(f1))
        assert each.n_frames == truth[:, name].sum()
        assert each.n_units == np.count_nonzero(truth[:, name])


def test_the_better_row_beats_the_other_in_either_order(tmp_path: Path) -> None:
    a, b = make_pair(1, 30, seeds=2, gain=3.0)
    difference = difference_estimate(a, b, [b, a])
    assert difference.p < 0.001
    low, value, high = (f"{each:.3f}"[1:] for each in (difference.low, difference.value, difference.high))
    expected = f"face,eye/concat/none beats face/linear/none by {value} [{low}, {high}], p < .001"
    results = write_folder(tmp_path, [Toy({}, b, classes=NAMES), Toy(EYE, a, classes=NAMES)])
    forth, back = results.compare("concat", "linear"), results.compare("linear", "concat")
    assert forth.sentence() == back.sentence() == expected
    assert (forth.overall.verdict, back.overall.verdict) == ("a", "b")
    assert back.overall.difference.value == pytest.approx(-difference.value)
    better = [each.name for each in forth.classes if each.p <= 0.05 and each.difference.value > 0]
    assert better
    assert (
        forth.class_sentences()
        == back.class_sentences()
        == [f"face,eye/concat/none is significantly better on {', '.join(better)}"]
    )


def test_similar_rows_are_tied(tmp_path: Path) -> None:
    a, b = make_pair(2, 25, seeds=2)
    found = compared(tmp_path, a, b)
    assert found.overall.p > 0.05
    assert found.overall.verdict == "tied"
    assert found.sentence().startswith("face,eye/concat/none is not significantly different from face/linear/none: ")
    assert found.sentence().endswith(f"p = {found.overall.p:.3f}".replace("0.", "."))
    assert found.class_sentences() == ["no single class differs significantly"]


def test_one_seed_is_no_claim_and_the_permutation_test_speaks_of_these_models(tmp_path: Path) -> None:
    a, b = make_pair(1, 30, gain=3.0)
    results = write_folder(tmp_path, [Toy({}, b, classes=NAMES), Toy(EYE, a, classes=NAMES)])
    found = results.compare("concat", "linear")
    assert (found.overall.verdict, found.class_sentences()) == ("tied", [])
    assert "no claim" in found.sentence()
    assert any("--seeds 3" in line for line in warnings(found))
    models = Results(tmp_path, "permutation").compare("concat", "linear")
    assert models.overall.p == permutation_p(a, b)
    assert models.overall.verdict == "a"
    assert "these trained models" in caption(models)


def test_seeds_are_paired_and_unpaired_ones_are_left_out_and_named(tmp_path: Path) -> None:
    a, b = make_pair(3, 22, seeds=3)
    results = write_folder(tmp_path, [Toy({}, b), Toy(EYE, [a[2], None, a[1]], seeds=[2, 5, 1])])
    found = results.compare("concat", "linear")
    assert found.seeds == ([1, 2], [1, 2])
    assert found.overall.difference == difference_estimate(a[1:], b[1:], [b, a[1:]])
    assert found.left_out == [0]
    assert "seeds finished in one row only were left out: 0" in warnings(found)
    assert "seeds 1, 2 of both" in caption(found)


def test_a_seed_given_for_one_row_applies_to_both(tmp_path: Path) -> None:
    a, b = make_pair(4, 22, seeds=2)
    results = write_folder(tmp_path, [Toy({}, b), Toy(EYE, a)])
    found = results.compare("concat/none/1", "linear")
    assert repr(found.overall.difference) == repr(difference_estimate(a[1:], b[1:], []))
    assert found.names == ("face,eye/concat/none/1", "face/linear/none")
    assert any(line.startswith("one seed:") for line in warnings(found))


def test_two_seeds_of_one_row_can_be_compared(tmp_path: Path) -> None:
    a, _ = make_pair(5, 22, seeds=2)
    found = write_folder(tmp_path, [Toy({}, a)]).compare("linear/none/0", "linear/none/1")
    assert repr(found.overall.difference) == repr(difference_estimate(a[:1], a[1:], []))
    assert "seed 0 of A and 1 of B" in caption(found)


def test_folds_are_pooled_and_a_cell_of_one_fold_is_compared_with_that_fold(tmp_path: Path) -> None:
    a, b = make_pair(6, 21)
    folds = ("fold0", "fold1", "fold2")
    results = write_folder(tmp_path, [Toy({}, b, folds=folds), Toy(EYE, a, folds=folds)])
    whole = results.compare("concat", "linear")
    assert whole.overall.difference.value == pytest.approx(difference_estimate(a, b, []).value)
    assert whole.overall.a.n_units == 21
    cell = results.grid["rows"][1]["cells"][1]
    part = results.compare(cell["id"], "linear")
    assert repr(part.overall.difference) == repr(difference_estimate(a[:, 1::3], b[:, 1::3], []))
    assert part.names[0] == "face,eye/concat/none/0 fold1"


def test_classes_in_few_units_give_a_warning(tmp_path: Path) -> None:
    a, b = make_pair(7, 30)
    for side in (a, b):
        side[:, 3:, 2] = 0
        side[:, :, 3] = 0
    lines = warnings(compared(tmp_path, a, b))
    shown = np.count_nonzero(a[0, :, 2].sum(-1))
    assert f"intervals are inaccurate for classes in fewer than 20 units: sad ({shown})" in lines


def test_few_units_give_a_warning(tmp_path: Path) -> None:
    lines = warnings(compared(tmp_path, *make_pair(8, 19)))
    assert "only 19 units were tested: intervals and tests are inaccurate below 20 units" in lines


def test_a_row_is_not_compared_with_itself(tmp_path: Path) -> None:
    a, _ = make_pair(9, 5)
    with pytest.raises(ConfigError, match=r"'linear' and 'face' are the same: face/linear/none"):
        write_folder(tmp_path, [Toy({}, a)]).compare("linear", "face")


def test_rows_with_different_frames_are_refused_with_distinct_names(tmp_path: Path) -> None:
    a, b = make_pair(10, 5)
    other = Toy({"dataset": "other"}, b, units=[f"v{unit}" for unit in range(5)], id="bbbb00000000")
    results = write_folder(tmp_path, [Toy({}, a, id="aaaa00000000"), other])
    message = (
        r"face/linear/none \(dataset toy\) and face/linear/none \(dataset other\) were not tested on the same frames"
    )
    with pytest.raises(ConfigError, match=message):
        results.compare("aaaa", "bbbb")
    b[0, 0, 0, 0] += 1
    results = write_folder(tmp_path / "2", [Toy({}, a), Toy(EYE, b)])
    with pytest.raises(ConfigError, match="were not tested on the same frames"):
        results.compare("concat", "linear")


def test_unfinished_rows_are_refused_with_their_failure(tmp_path: Path) -> None:
    a, _ = make_pair(11, 5, seeds=2)
    failed = Toy(EYE, [None, None], failure="the loss is nan")
    late = Toy({"fusion": "mlp"}, [a[0], None])
    results = write_folder(tmp_path, [Toy({}, [None, a[1]]), failed, late])
    with pytest.raises(DataError, match="face,eye/concat/none has no finished seed: the loss is nan"):
        results.compare("concat", "linear")
    with pytest.raises(DataError, match="have no finished seed in common"):
        results.compare("mlp", "linear")
    with pytest.raises(DataError, match="seed 1 of face/mlp/none is not finished"):
        results.compare("linear/none/1", "mlp")
