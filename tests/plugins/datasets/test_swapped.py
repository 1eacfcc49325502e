"""Made-up frames: who is swapped with whom, where composites stand, and that they reach train alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_components import registered
from toy_stills import image, write
from toy_tasks import divided

from fusionkit.config.views import FACE
from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.data.views import ViewRequest, write_views
from fusionkit.engine.source import open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_datasets.region_swap import BoxedFace, swap_region
from fusionkit_datasets.swapped import Swapped
from fusionkit_faces.template import Template

CLASSES = ("calm", "glad", "sad")


def table(seed: int, people: int, known: str, splits: tuple[str, ...]) -> FrameTable:
    """Clips of people (``known`` is subject, video or nothing), or stills where it is ``stills``."""
    rng = np.random.default_rng(seed)
    clips = [1] * people if known == "stills" else rng.integers(1, 4, people).tolist()
    rows = []
    for person, count in enumerate(clips):
        for clip in range(count):
            length = 1 if known == "stills" else int(rng.integers(1, 6))
            for number in range(length):
                split = splits[person % len(splits)]
                rows.append((f"p{person:03d}c{clip}", number, int(rng.integers(-1, 3)), f"p{person:03d}", split))
    clip, number, label, who, split = zip(*rows, strict=True)
    people_known = {known: list(who)} if known in ("subject", "video") else {}
    return FrameTable.of(list(clip), list(number), list(label), split=list(split), **people_known)


class Pictures(FaceDataset):
    """Frames of noise over the table that a test sets; every ninth has no image."""

    given: FrameTable

    def __init__(self, side: int = 30) -> None:
        self.side = side

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def frames(self) -> FrameTable:
        return self.given

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        return [None if row % 9 == 4 else self.picture(row) for row in rows.tolist()]

    def picture(self, row: int) -> np.ndarray:
        rough = np.random.default_rng(row).integers(60, 200, (6, 6, 3)).astype(np.uint8)
        return cv2.resize(rough, (self.side, self.side), interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module", autouse=True)
def pictures():
    with registered(DATASETS, "toy-pictures", Pictures):
        yield


def swapped(data: FrameTable, **options) -> Swapped:
    Pictures.given = data
    return Swapped(**{"source": "toy-pictures", "classes": ["glad", "sad"], **options})


KNOWN = st.sampled_from(["subject", "video", "", "stills"])
SPLITS = st.sampled_from([("train", "train", "train", "val"), ("train", "train", "train", "val", "test")])


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(
    seed=st.integers(0, 1000),
    people=st.integers(40, 90),
    known=KNOWN,
    splits=SPLITS,
    copies=st.integers(0, 3),
    group=st.integers(2, 6),
)
def test_composites_are_of_their_sources_class_unit_and_split_and_real_frames_stay(
    seed, people, known, splits, copies, group
):
    data = table(seed, people, known, splits)
    faces = swapped(data, copies=copies, group=group, seed=seed)
    found, made_of = faces.table(), faces.composed_of()
    made = (made_of >= 0).all(1)
    count = len(data)
    assert not made[:count].any()
    assert made[count:].all()
    for name in ("clip", "number", "label", "split", "video"):
        assert np.array_equal(getattr(found, name)[:count], getattr(data, name))
    tested = data.split != "train"
    assert np.array_equal(found.unit[:count][tested], data.unit[tested])
    for row in range(count, len(found)):
        for source in made_of[row].tolist():
            assert (found.unit[row], found.label[row]) == (found.unit[source], found.label[source])
            assert found.split[row] == found.split[source] == "train"
            assert CLASSES[found.label[row]] in ("glad", "sad")
        assert made_of[row, 0] != made_of[row, 1]
    by_unit = {}
    for unit, split in zip(found.unit.tolist(), found.split.tolist(), strict=True):
        assert by_unit.setdefault(unit, split) == split


@settings(max_examples=examples(25))
@given(seed=st.integers(0, 1000), known=KNOWN, split=st.sampled_from(["official", "holdout", "kfold:k=3"]))
def test_whatever_the_split_composites_are_trained_on_with_their_unit_and_dev_and_test_do_not_change(
    seed, known, split
):
    data = table(seed, 80, known, ("train", "train", "train", "val"))
    swapped(data, copies=2, group=3)
    options = {"source": "toy-pictures", "classes": ["glad"], "group": 3}
    on, off = (open_source(Spec("swapped", {**options, "copies": copies}), None) for copies in (2, 0))
    with_, _ = divided(Spec.parse(split), on.table, CLASSES, on.composites())
    without, _ = divided(Spec.parse(split), off.table, CLASSES, off.composites())
    made = (on.dataset.composed_of() >= 0).any(1)
    assert made.any()
    for fold, plain in zip(with_, without, strict=True):
        assert np.array_equal(fold.part[~made], plain.part)
        assert set(fold.part[made].tolist()) <= {"train", ""}
        for row in np.flatnonzero(made):
            parts = {str(plain.part[source]) for source in on.dataset.composed_of()[row]}
            assert len(parts) == 1
            assert fold.part[row] == ("train" if parts == {"train"} else "")


def test_every_frame_gets_as_many_different_donors_as_are_asked_for_or_there_are():
    data = FrameTable.of(
        ["a"] * 3 + ["b"] * 2 + ["c"] * 2, [0, 1, 2, 0, 1, 0, 1], [1, 1, 0, 1, 1, 1, 0],
        subject=["p"] * 5 + ["q"] * 2, split=["train"] * 7,
    )  # fmt: skip
    faces = swapped(data, copies=5, regions="eye,mouth")
    made_of = faces.composed_of()[7:]
    pairs = {(0, 3), (0, 4), (1, 3), (1, 4), (3, 0), (3, 1), (4, 0), (4, 1)}  # other clips of the person; q has one
    assert {tuple(pair) for pair in made_of.tolist()} == pairs
    assert len(made_of) == 2 * len(pairs)  # with the eyes and with the mouth
    assert len({faces.where(row) for row in range(7, len(faces.table()))}) == 2 * len(pairs)
    alone = swapped(data.take(np.arange(3)), copies=1)  # one clip: its other frames
    assert sorted(map(tuple, alone.composed_of()[3:].tolist())) == [(0, 1), (1, 0)]


def test_stills_of_a_swapped_class_are_united_in_train_and_all_others_are_left():
    data = table(3, 100, "stills", ("train", "train", "val"))
    faces = swapped(data, classes="glad", group=4, copies=0)
    united = faces.table().subject != ""
    assert np.array_equal(united, (data.label == 1) & (data.split == "train"))
    _, sizes = np.unique(faces.table().subject[united], return_counts=True)
    assert 4 <= sizes.min() <= sizes.max() < 8
    other = swapped(data, classes="glad", group=4, copies=0, seed=1)
    assert other.table().subject.tolist() != faces.table().subject.tolist()


def test_stills_without_official_splits_are_refused():
    faces = swapped(table(3, 40, "stills", ("",)))
    with pytest.raises(DataError, match="no official split"):
        faces.table()
    assert len(swapped(table(3, 40, "subject", ("",))).table()) > 0


def test_the_same_seed_draws_the_same_and_another_one_does_not():
    data = table(1, 40, "subject", ("train", "val"))
    draws = [swapped(data, seed=seed).composed_of() for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    prints = [open_source(Spec("swapped", options), None).fingerprint for options in every_identity()]
    assert len(set(prints)) == len(prints)


def every_identity():
    base = {"source": "toy-pictures", "classes": "glad"}
    changes = [{}, {"seed": 1}, {"regions": "eye"}, {"copies": 2}, {"feather": 0.2}, {"classes": "sad"}]
    return [{**base, **change} for change in [*changes, {"extractor": "template:layout=arcface"}]]


def test_a_composite_is_the_receiver_with_the_donors_region_and_none_where_one_has_no_image():
    data = table(2, 60, "subject", ("train", "val"))
    faces = swapped(data, regions="eye+mouth", copies=2)
    rows = np.arange(len(data), len(faces.table()))
    made_of, source, extractor = faces.composed_of(), Pictures(), Template()
    found = faces.images(rows[::-1])[::-1]
    missing = 0
    for row, composite in zip(rows, found, strict=True):
        receiver, donor = source.read(made_of[row])
        if receiver is None or donor is None:
            assert composite is None
            missing += 1
            continue
        boxes = dict(zip(extractor.regions, extractor([receiver]).boxes[0].astype(float), strict=True))
        expected = receiver
        for region in ("eye", "mouth"):
            expected = swap_region(BoxedFace(expected, boxes[region]), BoxedFace(donor, boxes[region]), 0.3)
        assert np.array_equal(composite, expected)
        assert not np.array_equal(composite, receiver)
    assert 0 < missing < len(rows)
    mixed = np.array([rows[0], 0, rows[1], rows[0]])
    again = faces.images(mixed)
    assert np.array_equal(again[1], source.read(np.array([0]))[0])
    assert np.array_equal(again[0], again[3])


def test_a_source_can_be_a_dict_and_where_it_lies_does_not_count(tmp_path: Path):
    for root in ("here", "there"):
        for index in range(6):
            image(tmp_path / root / "train" / "ab"[index % 2] / f"{index}.png", 20 * index + 9, 20, 20)
        image(tmp_path / root / "val/a/9.png", 70, 20, 20)
    specs = [
        Spec("swapped", {"source": {"type": "folder", "root": str(tmp_path / "here")}, "classes": ["a"]}),
        Spec("swapped", {"source": f"folder:root={tmp_path / 'there'}", "classes": "a"}),
    ]
    sources = [open_source(spec, None) for spec in [*specs, Spec.parse(str(specs[0]))]]
    assert len({source.fingerprint for source in sources}) == 1
    assert len(sources[0].table) == 7 + 3
    assert sources[0].where(7) == (
        f"{tmp_path}/here/train/a/0.png with mouth of {sources[0].where(int(sources[0].dataset.composed_of()[7, 1]))}"
    )


@pytest.mark.slow
def test_composites_can_be_written_to_files(tmp_path: Path):
    data = table(2, 40, "subject", ("train", "val"))
    faces = swapped(data, copies=1)
    spec = Spec("swapped", {"source": "toy-pictures", "classes": ["glad", "sad"]})
    written = write_views(ViewRequest(spec, FACE, Spec("template"), form="png"), tmp_path / "out", Progress())
    after = DATASETS.build(written.reader)
    before, read = faces.table(), after.table()
    keys = [
        dict(zip(zip(t.clip.tolist(), t.number.tolist(), strict=True), range(len(t)), strict=True))
        for t in (before, read)
    ]
    assert keys[0].keys() == keys[1].keys()
    pictures = [one.images(np.arange(len(before))) for one in (faces, after)]
    for key, row in keys[0].items():
        other = keys[1][key]
        assert (before.unit[row], before.split[row]) == (read.unit[other], read.split[other])
        one, two = pictures[0][row], pictures[1][other]
        assert np.array_equal(one, two) if one is not None else two is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "gald"}, "unknown class 'gald' (did you mean 'glad'"),
        ({"classes": []}, "must be a list of different names"),
        ({"regions": "eye,eye"}, "must be a list of different names"),
        ({"regions": "eyes+mouth"}, "unknown region 'eyes' (did you mean 'eye'"),
        ({"copies": -1}, "option copies = -1 must be at least 0"),
        ({"group": 1}, "option group = 1 must be at least 2"),
        ({"feather": 0.6}, "option feather = 0.6 must be at least 0 and at most 0.5"),
        ({"source": "toy-picture"}, "source: unknown dataset 'toy-picture' (did you mean 'toy-pictures'"),
        ({"source": {"root": "x"}}, "is not a component"),
        (
            {"source": "toy-pictures:sode=3"},
            "source: dataset 'toy-pictures': unknown option 'sode' (did you mean 'side'",
        ),
        ({"extractor": "templat"}, "extractor: unknown extractor 'templat'"),
        ({"source": {"type": "swapped", "source": "toy-pictures", "classes": "sad"}}, "already has composites"),
    ],
)
def test_wrong_options_are_refused_with_what_would_be_right(options, message):
    Pictures.given = table(0, 20, "subject", ("train",))
    with pytest.raises(ConfigError) as raised:
        DATASETS.build(Spec("swapped", {"source": "toy-pictures", "classes": "glad", **options}))
    assert message in str(raised.value)


def test_a_changed_image_of_the_source_is_other_data(tmp_path: Path):
    for index in range(6):
        image(tmp_path / "train" / "ab"[index % 2] / f"{index}.png", 20 * index + 9, 20, 20)
    image(tmp_path / "val/a/9.png", 70, 20, 20)
    data = Swapped({"type": "folder", "root": str(tmp_path)}, "a", group=2)
    rows = np.arange(len(data.frames))
    composites = rows[(data.composed_of() >= 0).any(1)]
    files = {Path(path).name for path in data.image_files(composites)}
    assert files <= {"0.png", "2.png", "4.png"}
    assert len(files) > 1
    before = [data.fingerprint(), data.fingerprint(composites)]
    path = tmp_path / "train/a" / min(files)
    path.write_bytes(path.read_bytes()[::-1])
    assert data.fingerprint() != before[0]
    assert data.fingerprint(composites) != before[1]


def test_problems_and_images_of_the_source_are_passed_on(tmp_path: Path):
    for index in range(4):
        image(tmp_path / "train" / "ab"[index % 2] / f"{index}.png", 20 * index + 9, 20, 20)
    image(tmp_path / "val/b/7.png", 70, 20, 20)
    write(tmp_path / "train/a/broken.png", b"")
    plain = Swapped({"type": "folder", "root": str(tmp_path)}, "a", copies=0)
    assert plain.has_image().tolist() == [True, True, False, True, True, True]
    assert len(list(plain.problems())) == 1
    faces = Swapped({"type": "folder", "root": str(tmp_path)}, "a", copies=9)
    assert sorted(map(tuple, faces.composed_of()[6:].tolist())) == [(0, 1), (1, 0)]  # not with the broken one
    assert faces.has_image() is None


def test_other_tasks_have_the_labels_of_the_source_and_none_for_composites():
    options = {"train": 4, "val": 3, "test": 3, "clips": 4, "clip_length": 8}
    source = DATASETS.build(Spec("synthetic", options))
    faces = Swapped(source={"type": "synthetic", **options}, classes="Neutral")
    count = len(source.table())
    assert len(faces.table()) > count
    for task in ("action-units", "valence-arousal"):
        given, found = source.task_labels(task), faces.task_labels(task)
        assert found.names == given.names
        np.testing.assert_array_equal(found.values[:count], given.values)
        assert np.isnan(found.values[count:]).all()
    expressions = faces.task_labels("expression").values
    assert (expressions[count:] == source.classes.index("Neutral")).all()
    assert faces.task_labels("votes") is None
