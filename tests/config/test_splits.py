"""Splits: by unit, stratified, the same every time, and honest about what they cannot do."""

import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_tasks import divided, expression

from fusionkit.config.splits import SPLITS, Fold, check_training_labels, split_problems
from fusionkit.contracts import FrameTable
from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec

CLASSES = ("calm", "glad", "sad")


def table(units: int = 40, clips: int = 2, frames: int = 5, *, seed: int = 0, **columns: Any) -> FrameTable:
    """Some clips a subject; a subject leans to one class; some frames are unlabelled."""
    rng = np.random.default_rng(seed)
    clip = np.repeat([f"u{u:03d}c{c}" for u in range(units) for c in range(clips)], frames)
    subject = np.char.partition(clip, "c")[:, 0]
    number = np.tile(np.arange(frames), units * clips)
    leaning = np.repeat(np.arange(units) % 3, clips * frames)
    label = np.where(rng.random(len(clip)) < 0.8, leaning, rng.integers(0, 3, len(clip)))
    label[rng.random(len(clip)) < 0.1] = -1
    return FrameTable.of(clip, number, label, **{"subject": subject, **columns})


def official(names: str, units: int = 40) -> FrameTable:
    """Subjects in turn in the official splits that are named."""
    bare = table(units)
    splits = names.split()
    return table(units, split=[splits[int(unit[1:]) % len(splits)] for unit in bare.unit.tolist()])


def folds(spec: str, data: FrameTable) -> list[Fold]:
    assert split_problems(Spec.parse(spec)) == []
    return divided(Spec.parse(spec), data, CLASSES)[0]


def units_of(data: FrameTable, fold: Fold, part: str) -> set[str]:
    return set(data.unit[fold.rows(part)].tolist())


ALL = ["holdout", "holdout:test=0.3,dev=0.1", "kfold", "kfold:k=3,dev=0.5"]


@pytest.mark.parametrize("spec", ALL)
@settings(max_examples=examples(15))
@given(seed=st.integers(0, 1000), units=st.integers(24, 60), clips=st.integers(1, 3))
def test_no_unit_is_in_two_parts_and_every_frame_is_in_one(spec: str, seed: int, units: int, clips: int) -> None:
    data = table(units, clips, 4, seed=seed)
    for fold in folds(spec, data):
        for one, other in combinations(("train", "dev", "test"), 2):
            assert not units_of(data, fold, one) & units_of(data, fold, other)
        assert set(fold.part.tolist()) == {"train", "dev", "test"}
        together = np.concatenate([fold.rows(part) for part in ("train", "dev", "test")])
        assert sorted(together.tolist()) == list(range(len(data)))


def test_the_same_split_comes_out_every_time() -> None:
    for spec in ALL:
        one, other = folds(spec, table()), folds(spec, table())
        assert [fold.digest for fold in one] == [fold.digest for fold in other]
        assert all((a.part == b.part).all() for a, b in zip(one, other, strict=True))
    assert folds("holdout", table())[0].digest != folds("holdout:test=0.3", table())[0].digest


def test_every_part_has_the_class_shares_of_the_whole() -> None:
    data = table(60, 1, 10)
    whole = np.bincount(data.label[data.label >= 0], minlength=3) / (data.label >= 0).sum()
    for spec in ("holdout", "kfold"):
        for fold in folds(spec, data):
            for part in ("train", "dev", "test"):
                labels = data.label[fold.rows(part)]
                share = np.bincount(labels[labels >= 0], minlength=3) / (labels >= 0).sum()
                np.testing.assert_allclose(share, whole, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "dev"), [(0.2, 0.2), (0.1, 0.25), (0.3, 0.4), (0.4, 0.15), (0.45, 0.05), (0.5, 0.5), (1 / 3, 0.35)]
)
@pytest.mark.parametrize("frames", [1, 4])
def test_a_share_of_the_units_is_carved_out_as_asked(test: float, dev: float, frames: int) -> None:
    data = table(400, 1, frames, seed=3)
    labelled = len(set(data.unit[data.label >= 0].tolist()))
    (fold,) = folds(f"holdout:test={test},dev={dev}", data)
    tested = len(units_of(data, fold, "test"))
    assert tested / labelled == pytest.approx(test, abs=0.02)
    assert len(units_of(data, fold, "dev")) / (labelled - tested) == pytest.approx(dev, abs=0.02)


def test_with_few_units_the_nearest_possible_share_is_taken() -> None:
    data = table(4, 2, 6)
    (fold,) = divided(Spec("holdout"), data, CLASSES)[0]
    assert [len(units_of(data, fold, part)) for part in ("train", "dev", "test")] == [2, 1, 1]


def test_with_train_and_val_val_is_tested_and_dev_carved_from_train() -> None:
    data = official("train train val")
    (fold,) = folds("official", data)
    assert fold.name == "official"
    assert (fold.part[data.split == "val"] == "test").all()
    assert set(fold.part[data.split == "train"].tolist()) == {"train", "dev"}
    assert not units_of(data, fold, "train") & units_of(data, fold, "dev")
    assert len(units_of(data, fold, "dev")) == round(0.2 * len(set(data.unit[data.split == "train"].tolist())))
    (halved,) = folds("official:dev=0.5", data)
    assert (halved.part == "dev").sum() > 2 * (fold.part == "dev").sum()


def test_with_train_and_test_only_dev_is_carved_too() -> None:
    data = official("train test train")
    (fold,) = folds("official", data)
    assert (fold.part[data.split == "test"] == "test").all()
    assert set(fold.part[data.split == "train"].tolist()) == {"train", "dev"}


def test_with_train_val_and_test_val_is_dev_and_nothing_is_carved() -> None:
    data = official("train val test train")
    (fold,) = folds("official", data)
    for split, part in {"train": "train", "val": "dev", "test": "test"}.items():
        assert (fold.part[data.split == split] == part).all()


def test_frames_outside_the_official_splits_are_not_used() -> None:
    data = official("train val test train")
    split = data.split.copy()
    split[:7] = ""
    (fold,) = folds("official", table(split=split))
    assert (fold.part[:7] == "").all()
    assert not set(range(7)) & set(np.concatenate([fold.rows(part) for part in ("train", "dev", "test")]).tolist())


def test_auto_is_official_where_there_are_splits_and_holdout_elsewhere() -> None:
    data = official("train val test train")
    assert folds("auto", data)[0].digest == folds("official", data)[0].digest
    assert folds("auto", table())[0].digest == folds("holdout", table())[0].digest


@pytest.mark.parametrize("k", [2, 5, 7])
def test_k_folds_test_each_unit_once(k: int) -> None:
    data = table(50, 2, 4)
    found = folds(f"kfold:k={k}", data)
    assert [fold.name for fold in found] == [f"kfold/{index}" for index in range(k)]
    tested = [unit for fold in found for unit in units_of(data, fold, "test")]
    assert sorted(tested) == sorted(set(data.unit.tolist()))


def test_unlabelled_frames_go_with_their_unit_and_unlabelled_units_train() -> None:
    data = table(40)
    label = data.label.copy()
    label[data.unit == "u003"] = -1
    data = FrameTable.of(data.clip, data.number, label, subject=data.subject)
    for fold in folds("kfold", data):
        assert set(fold.part[data.unit == "u003"].tolist()) == {"train"}
        for unit in set(data.unit.tolist()):
            assert len(set(fold.part[data.unit == unit].tolist())) == 1


def changed(label: np.ndarray, **columns: Any) -> FrameTable:
    data = table(**columns)
    return FrameTable.of(data.clip, data.number, label, subject=data.subject)


NOBODY = table()


@pytest.mark.parametrize(
    ("spec", "data", "message"),
    [
        ("holdout", changed(np.full(400, -1)), "no frame is labelled"),
        ("holdout", changed(np.where(NOBODY.label < 0, -1, 1)), "every labelled frame is 'glad'"),
        ("holdout", changed(np.where(NOBODY.label == 2, 1, NOBODY.label)), "no training frame of class 'sad'"),
        ("holdout", table(1), "1 labelled unit(s) are too few to use 0.2 of them as test"),
        ("holdout", table(2), "2 labelled unit(s) are too few"),
        ("kfold:k=50", table(40), "40 labelled unit(s) are too few for 50 groups"),
        ("kfold:k=18", table(20, 1, 1), "no class has the 18 labelled frames that 18 groups need"),
        ("official", table(), "official splits train, and val or test; it has: none (use split = holdout"),
        ("official", official("train"), "it has: train"),
        ("official", official("val test"), "it has: test, val"),
    ],
)
def test_data_that_cannot_be_split_are_refused_with_the_reason(spec: str, data: FrameTable, message: str) -> None:
    with pytest.raises(DataError) as refused:
        divided(Spec.parse(spec), data, CLASSES)
    assert message in str(refused.value)


def test_parts_without_a_label_are_refused() -> None:
    data = official("train val test train")
    for split, message in {"val": "no labelled dev frame", "test": "no labelled test frame"}.items():
        label = np.where(data.split == split, -1, data.label)
        bare = FrameTable.of(data.clip, data.number, label, subject=data.subject, split=data.split)
        with pytest.raises(DataError, match=message):
            divided(Spec("official"), bare, CLASSES)


def test_warnings_name_classes_missing_in_dev_and_leaking_units() -> None:
    data = official("train val test train")
    label = np.where((data.split == "val") & (data.label == 2), 0, data.label)
    lacking = FrameTable.of(data.clip, data.number, label, subject=data.subject, split=data.split)
    assert divided(Spec("official"), lacking, CLASSES)[1] == [
        "split official: dev has no frame of class 'sad', so choices on dev ignore it"
    ]
    people = np.where(np.isin(data.subject, ["u000", "u002", "u001", "u006"]), "same", data.subject)
    leaking = FrameTable.of(data.clip, data.number, data.label, subject=people, split=data.split)
    assert divided(Spec("official"), leaking, CLASSES)[1] == [
        "split official: 1 unit(s) are in both train and test, for example 'same'",
        "split official: 1 unit(s) are in both dev and test, for example 'same'",
        "split official: 1 unit(s) are in both train and dev, for example 'same'",
    ]
    assert divided(Spec("official"), data, CLASSES)[1] == []


def test_a_class_without_test_frames_is_named() -> None:
    data = official("train val test train")
    label = np.where((data.split == "test") & (data.label == 2), 0, data.label)
    lacking = FrameTable.of(data.clip, data.number, label, subject=data.subject, split=data.split)
    (line,) = divided(Spec("official"), lacking, CLASSES)[1]
    assert "test has no frame of class 'sad'" in line


def one_rare_subject() -> FrameTable:
    """Ten subjects with two classes; one of them has all frames of the third."""
    subject = np.repeat([f"s{i}" for i in range(10)], 20)
    number = np.arange(200)
    label = np.where((subject == "s3") & (number % 2 == 0), 2, number % 2)
    return FrameTable.of(subject, number % 20, label, subject=subject)


def test_a_fold_without_a_rare_class_in_train_is_named_and_the_others_remain() -> None:
    data = one_rare_subject()
    found, notes = divided(Spec.parse("kfold:k=5"), data, CLASSES)
    lacking = [fold.name for fold in found if not (data.label[fold.rows("train")] == 2).any()]
    assert 0 < len(lacking) < len(found) == 5
    for name in lacking:
        (line,) = [note for note in notes if note.startswith(f"split {name}: no training frame of class 'sad'")]
        assert "class_map" in line
        assert "fewer folds" in line
    assert not any("test has no frame" in note for note in notes)  # each subject is tested once
    for fold in found:
        label = data.label[fold.rows("train")]
        if fold.name in lacking:
            with pytest.raises(DataError, match=f"split {fold.name}: no training frame of class 'sad' .*class_map"):
                check_training_labels(fold.name, expression(CLASSES), label)
        else:
            check_training_labels(fold.name, expression(CLASSES), label)


def test_a_class_whose_only_unit_is_in_dev_is_refused_with_where_it_is() -> None:
    label = np.array([2, *[0, 1] * 30])
    split = ["train"] * 41 + ["val"] * 20
    stills = FrameTable.of([f"i{index:02}" for index in range(61)], np.zeros(61, int), label, split=split)
    with pytest.raises(DataError, match=r"no training frame of class 'sad': those of 'sad' are in dev \(drop"):
        divided(Spec("official"), stills, CLASSES)


def test_the_way_out_fits_the_split() -> None:
    hints = {}
    for name in ("official", "holdout", "kfold/1"):
        with pytest.raises(DataError) as refused:
            check_training_labels(name, expression(CLASSES), np.array([0, 1]))
        hints[name] = refused.value.hint
    drop = "drop it with class_map={sad:null}, or merge it with another"
    assert hints == {
        "official": f"{drop}, or use the stratified split holdout",
        "holdout": drop,
        "kfold/1": f"{drop}, or use fewer folds, or use the stratified split holdout",
    }


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["holdout", "kfold"])
def test_fifty_thousand_stills_are_divided_within_two_seconds(spec: str) -> None:
    rng = np.random.default_rng(0)
    stills = FrameTable.of([f"i{i}" for i in range(50_000)], np.zeros(50_000, int), rng.integers(0, 3, 50_000))
    divided(Spec(spec), table(), CLASSES)  # scikit-learn is imported once
    started = time.thread_time()  # of this thread: a busy machine does not count
    divided(Spec(spec), stills, CLASSES)
    assert time.thread_time() - started < 2


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ("kfld", ["unknown split 'kfld' (did you mean 'kfold'?); known: auto, official, holdout, kfold"]),
        ("auto:dev=0.2", ["split 'auto': unknown option 'dev' (known options: none)"]),
        (
            "holdout:tst=0.1,dev=0,test=0.7",
            [
                "split 'holdout': unknown option 'tst' (did you mean 'test'?)",
                "split 'holdout': option dev = 0 must be above 0 and at most 0.5",
                "split 'holdout': option test = 0.7 must be above 0 and at most 0.5",
            ],
        ),
        ("kfold:k=1", ["split 'kfold': option k = 1 must be at least 2"]),
        (
            "kfold:k=2.5,dev=x",
            [
                "split 'kfold': option k = 2.5 must be int >= 2",
                "split 'kfold': option dev = 'x' must be 0 < float <= 0.5",
            ],
        ),
    ],
)
def test_a_wrong_split_is_refused_before_any_data_are_read(spec: str, problems: list[str]) -> None:
    assert split_problems(Spec.parse(spec)) == problems
    assert set(SPLITS) == {"auto", "official", "holdout", "kfold"}
