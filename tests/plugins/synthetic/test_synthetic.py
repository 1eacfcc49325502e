"""The synthetic data set as the kernel sees it: table, images, options."""

import hashlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_synthetic.cast import quotas
from fusionkit_synthetic.synthetic import Synthetic

SMALL = Synthetic.examples[0]
ABAW = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")


def digest(images):
    state = hashlib.sha256()
    for image in images:
        state.update(b"none" if image is None else image.tobytes())
    return state.hexdigest()


def test_the_default_table_is_valid_and_of_the_promised_size():
    data = Synthetic()
    table = data.table()
    assert data.classes == ABAW
    assert 5_000 <= len(table) <= 6_100
    assert (table.split == "train").sum() <= 3_000
    people = {split: len(set(table.subject[table.split == split])) for split in ("train", "val", "test")}
    assert people == {"train": 26, "val": 12, "test": 22}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [SMALL, {}], ids=["small", "default"])
def test_every_split_holds_every_class_and_no_person_is_in_two(seed, options):
    table = Synthetic(**options, seed=seed).table()
    people = [set(table.subject[table.split == split]) for split in ("train", "val", "test")]
    assert len(set.union(*people)) == sum(len(group) for group in people)
    for split in ("train", "val", "test"):
        assert set(table.label[table.split == split]) >= set(range(8))


def test_the_classes_are_skewed_towards_neutral_other_and_happiness():
    label = Synthetic().frames.label
    counts = np.bincount(label[label >= 0], minlength=8)
    assert counts[0] == counts.max()
    assert min(counts[7], counts[4]) > max(counts[1], counts[2], counts[3])


def test_some_frames_have_no_image_and_some_no_label():
    data = Synthetic()
    images = np.concatenate([script.image for script in data._cast.scripts])
    assert 0.01 <= 1 - images.mean() <= 0.03
    assert 0.02 <= (data.frames.label == -1).mean() <= 0.08
    runs = np.diff(np.flatnonzero(np.diff(np.r_[True, images, True].astype(int))))[::2]
    assert runs.max() >= 3  # bursts
    rows = np.r_[np.flatnonzero(~images)[:3], np.flatnonzero(images)[:3]]
    assert [image is None for image in data.images(rows)] == [True] * 3 + [False] * 3


def test_nothing_is_missing_or_unlabelled_if_so_asked():
    data = Synthetic(**SMALL, missing=0.0, unlabelled=0.0)
    assert (data.frames.label >= 0).all()
    assert all(image is not None for image in data.images(np.arange(40)))


@pytest.mark.slow
def test_frames_are_the_same_in_any_order_and_for_any_number_of_threads():
    first, second = Synthetic(**SMALL), Synthetic(**SMALL)
    rows = np.arange(len(first.frames))
    shuffled = np.random.default_rng(3).permutation(rows)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        sequential = first.images(rows)
        cv2.setNumThreads(4)
        scattered = second.images(shuffled)
    finally:
        cv2.setNumThreads(threads)
    assert digest(sequential[row] for row in shuffled) == digest(scattered)


@pytest.mark.slow
def test_a_frame_drawn_alone_by_another_process_is_the_same():
    data = Synthetic(**SMALL)
    row = int(np.flatnonzero(data._cast.scripts[7].image)[2] + data._cast.starts[7])
    code = (
        "import sys, hashlib, numpy as np; from fusionkit_synthetic.synthetic import Synthetic;"
        f"image = Synthetic(**{SMALL!r}).read(np.array([{row}]))[0];"
        "print(hashlib.sha256(image.tobytes()).hexdigest(), 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None)
    assert result.stdout.split() == [digest(data.read(np.array([row]))), "False"]


def test_a_copy_through_pickle_draws_the_same():
    data = Synthetic(**SMALL)
    data.read(np.arange(3))
    assert digest(pickle.loads(pickle.dumps(data)).read(np.arange(9))) == digest(data.read(np.arange(9)))


def test_the_pictures_are_those_of_this_version_of_the_renderer():
    # a mean, as the last bit may differ between builds of OpenCV; if it moves, RENDERER must be raised
    images = [image for image in Synthetic(**SMALL).images(np.arange(0, 300, 7)) if image is not None]
    mean = np.stack(images).mean((0, 1, 2))
    np.testing.assert_allclose(mean, (117.05, 98.35, 87.29), atol=0.1)


def test_the_seed_changes_pictures_and_labels_but_not_the_structure():
    one, two = Synthetic(**SMALL, seed=1), Synthetic(**SMALL, seed=2)
    a, b = one.table(), two.table()
    assert a.digest() != b.digest()
    assert digest(one.read(np.arange(5))) != digest(two.read(np.arange(5)))
    for split in ("train", "val", "test"):
        assert set(a.subject[a.split == split]) == set(b.subject[b.split == split])
    assert list(dict.fromkeys(a.clip)) == list(dict.fromkeys(b.clip))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"difficulty": 0.4}, {"noise": 0.5}, {"missing": 0.0}, {"clips": 5}, {"train": 5}]
)
def test_content_tells_options_apart_and_equal_ones_not(change):
    base = Synthetic(**SMALL)
    assert Synthetic(**SMALL).content() == base.content()
    assert Synthetic(**SMALL | change).content() != base.content()
    assert Synthetic(**SMALL, difficulty=1).content() == Synthetic(**SMALL, difficulty=1.0).content()


def test_noise_and_difficulty_are_felt():
    rows = np.arange(12)

    def roughness(**options):
        images = Synthetic(**SMALL, missing=0.0, **options).read(rows)
        return np.mean([np.abs(cv2.Laplacian(image, cv2.CV_64F)).mean() for image in images])

    assert roughness(difficulty=0.0, noise=2.0) > 1.5 * roughness(difficulty=0.0, noise=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 0}, "train = 0 must be at least 1"),
        ({"clips": 2.5}, "clips = 2.5 must be int >= 1"),
        ({"clip_length": 5}, "clip_length = 5 must be at least 6"),
        ({"seed": -1}, "seed = -1 must be at least 0"),
        ({"test": True}, "test = True must be int >= 1"),
        ({"difficulty": 1.5}, "difficulty = 1.5 must be at least 0 and at most 1"),
        ({"noise": float("nan")}, "noise = nan must be finite"),
        ({"noise": 3.5}, "noise = 3.5 must be at least 0 and at most 3"),
        ({"missing": "few"}, "missing = 'few' must be 0 <= float <= 0.5"),
        ({"interaction": "any"}, "interaction = 'any' must be one of: none, unique, redundant, synergy"),
        ({"val": 1, "clips": 4}, "val=1 with clips=4 gives 4 clips; a split needs at least 8"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError) as caught:
        DATASETS.build(Spec("synthetic", options))
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        DATASETS.build(Spec("synthetic", {"train": 0, "difficulty": -1}))
    assert len(caught.value.problems) == 2


@given(clips=st.integers(8, 3000))
def test_quotas_give_every_class_a_clip_and_share_out_all(clips):
    counts = quotas(clips)
    assert counts.sum() == clips
    assert counts.min() >= 1


@settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**31), length=st.integers(6, 40), clips=st.integers(2, 6))
def test_any_small_data_set_keeps_the_contract(seed, length, clips):
    data = Synthetic(train=4, val=4, test=4, clips=clips, clip_length=length, seed=seed, unlabelled=0.3)
    table = data.table()
    for split in ("train", "val", "test"):
        assert set(table.label[table.split == split]) >= set(range(8))
    starts = np.flatnonzero(np.r_[True, table.clip[1:] != table.clip[:-1]])
    assert starts.tolist() == data._cast.starts.tolist()
    assert (table.number[starts] == 1).all()
