"""Action units, valence and arousal of Aff-Wild2, on folders that are written by hand and by the writer."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_affwild2 import EXPR, annotate, crop

from fusionkit.contracts import Labels
from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.affwild2 import AffWild2
from fusionkit_datasets.affwild2_labels import AU, VA, parse_columns
from fusionkit_datasets.affwild2_writer import write_affwild2
from fusionkit_synthetic.synthetic import Synthetic

HEADERS = {
    "AU": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    "VA": "valence,arousal",
}
FOLDERS = {"AU": "AU_Detection_Challenge", "VA": "VA_Estimation_Challenge"}
TASKS = {"AU": "action-units", "VA": "valence-arousal"}
NAN = float("nan")


def lines(root: Path, challenge: str, clip: str, rows: list[str], split: str = "Train_Set", header: str = "") -> Path:
    path = root / "6th ABAW Annotations" / FOLDERS[challenge] / split / f"{clip}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header or HEADERS[challenge], *rows, ""]), encoding="utf-8")
    return path


def unit_row(*active: int, unknown: tuple[int, ...] = ()) -> str:
    """A line with the named action units active, and some without a label."""
    units = [int(name.removeprefix("AU")) for name in HEADERS["AU"].split(",")]
    return ",".join("-1" if unit in unknown else str(int(unit in active)) for unit in units)


def labels_of(data: AffWild2, challenge: str) -> Labels:
    labels = data.task_labels(TASKS[challenge])
    assert labels is not None
    return labels


def test_line_k_is_frame_k_and_unlabelled_entries_are_nan(tmp_path):
    lines(tmp_path, "AU", "v", [unit_row(1, 26), unit_row(4, unknown=(2, 25)), unit_row()])
    crop(tmp_path, "v", [1, 3, 4])
    data = AffWild2(str(tmp_path), challenges="AU")
    labels = labels_of(data, "AU")
    assert labels.names == tuple(HEADERS["AU"].split(","))
    assert data.table().number.tolist() == [1, 2, 3, 4]
    assert data.has_image().tolist() == [True, False, True, True]
    expected = np.zeros((4, 12))
    expected[0, [0, 11]] = expected[1, 2] = 1
    expected[1, [1, 10]] = expected[3] = NAN
    np.testing.assert_array_equal(labels.values, expected)
    assert data.task_labels("expression") is None
    assert data.task_labels("valence-arousal") is None


def test_a_header_in_another_order_is_mapped_by_name(tmp_path):
    lines(tmp_path, "VA", "v", ["0.5,-0.25", "-5,1", "-5,-5"], header="arousal, Valence")
    crop(tmp_path, "v", [1])
    values = labels_of(AffWild2(str(tmp_path), challenges="VA"), "VA").values
    np.testing.assert_array_equal(values, [(-0.25, 0.5), (1, NAN), (NAN, NAN)])


def test_other_challenges_change_nothing_unless_they_are_named(tmp_path):
    annotate(tmp_path, "v", [0, 3, -1])
    crop(tmp_path, "v", [1, 2])
    alone = AffWild2(str(tmp_path))
    before = alone.table().digest(), alone.fingerprint(), alone.content()
    lines(tmp_path, "VA", "v", ["0,0"] * 5)
    lines(tmp_path, "VA", "w", ["0,0"] * 5, "Validation_Set")
    lines(tmp_path, "AU", "v", ["not a line"], "Validation_Set")
    data = AffWild2(str(tmp_path))
    assert (data.table().digest(), data.fingerprint(), data.content()) == before
    assert data.task_labels("valence-arousal") is None
    assert data.labels_hint("valence-arousal") == "add challenge VA: challenges=[EXPR,VA]"
    assert data.labels_hint("votes") == ""
    assert list(data.problems()) == []


ROW = {
    "EXPR": st.integers(-1, 7),
    "AU": st.sets(st.sampled_from([1, 12, 26])),
    "VA": st.tuples(st.sampled_from([-5, -1, 0.25, 1]), st.sampled_from([-5, -0.5, 0])),
}
SPLITS = {"Train_Set": "train", "Validation_Set": "val"}


@settings(max_examples=60)
@given(
    order=st.permutations(["EXPR", "AU", "VA"]).flatmap(lambda names: st.integers(1, 3).map(lambda n: names[:n])),
    annotated=st.dictionaries(
        st.tuples(st.sampled_from(["EXPR", "AU", "VA"]), st.sampled_from(["a", "a_left", "b", "c"])),
        st.sampled_from(list(SPLITS)).flatmap(lambda split: st.tuples(st.just(split), st.integers(1, 5))),
        min_size=4,
    ),
    crops=st.dictionaries(st.sampled_from(["a", "a_left", "b", "c"]), st.sets(st.integers(1, 6), min_size=1)),
    data=st.data(),
)
def test_the_table_is_the_union_of_the_named_challenges(tmp_path_factory, order, annotated, crops, data):
    root = tmp_path_factory.mktemp("aff")
    (root / "cropped_aligned").mkdir()
    rows = {}
    for (challenge, clip), (split, length) in annotated.items():
        rows[challenge, clip] = data.draw(st.lists(ROW[challenge], min_size=length, max_size=length))
        write(root, challenge, clip, rows[challenge, clip], split)
    for clip, numbers in crops.items():
        crop(root, clip, sorted(numbers))
    if {challenge for challenge, _ in annotated} >= set(order):
        expected = union(order, {key: split for key, (split, _) in annotated.items()}, rows, crops)
        compare(AffWild2(str(root), challenges=order), order, expected)
    else:
        with pytest.raises(DataError):
            AffWild2(str(root), challenges=order)
    shutil.rmtree(root)


def write(root, challenge, clip, drawn, split):
    if challenge == "EXPR":
        annotate(root, clip, drawn, split)
    elif challenge == "AU":
        lines(root, challenge, clip, [unit_row(*row) for row in drawn], split)
    else:
        lines(root, challenge, clip, [f"{row[0]},{row[1]}" for row in drawn], split)


def union(order, splits, rows, crops):
    """(clip, number, split, labels by challenge): the first challenge that has a video decides its split."""
    used, split_of = {}, {}
    for name in order:
        own = {clip: split for (challenge, clip), split in splits.items() if challenge == name}
        agreed = {clip: split for clip, split in own.items() if split_of.get(clip[0], split) == split}
        used |= {(name, clip): split for clip, split in agreed.items()}
        for clip in sorted(agreed):
            split_of.setdefault(clip[0], agreed[clip])
    found = []
    for clip in sorted({clip for _, clip in used}):
        own = {name: rows[name, clip] for name in order if (name, clip) in used}
        split = SPLITS[used[next(iter(own)), clip]]
        for number in sorted({*range(1, max(map(len, own.values())) + 1), *crops.get(clip, ())}):
            values = {name: row[number - 1] for name, row in own.items() if number <= len(row)}
            found.append((clip, number, split, values))
    return found


def compare(data, order, expected):
    table = data.table()
    assert [*zip(table.clip, table.number, table.split, strict=True)] == [row[:3] for row in expected]
    assert table.label.tolist() == [values.get("EXPR", -1) for *_, values in expected]
    if "AU" in order:
        units = [1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26]
        wanted = [[float(unit in v["AU"]) if "AU" in v else NAN for unit in units] for *_, v in expected]
        np.testing.assert_array_equal(labels_of(data, "AU").values, wanted)
    if "VA" in order:
        wanted = [[NAN if x == -5 else x for x in v.get("VA", (-5, -5))] for *_, v in expected]
        np.testing.assert_array_equal(labels_of(data, "VA").values, wanted)


@pytest.mark.parametrize(
    ("challenge", "row", "message"),
    [
        ("AU", "1,0", "'1,0' must be 12 values, not 2"),
        ("AU", unit_row().replace("0", "2", 1), "must be values of 0, 1 or -1"),
        ("AU", unit_row().replace("0", "nan", 1), "must be values of 0, 1 or -1"),
        ("AU", unit_row().replace("0", "x", 1), "must be values of 0, 1 or -1"),
        ("VA", "0.5", "'0.5' must be 2 values, not 1"),
        ("VA", "0.5,1.5", "'0.5,1.5' must be values of -1 to 1, or -5"),
        ("VA", "0.5,-2", "'0.5,-2' must be values of -1 to 1, or -5"),
        ("VA", "0.5,inf", "'0.5,inf' must be values of -1 to 1, or -5"),
        ("VA", "", "a blank line"),
    ],
)
def test_a_wrong_line_is_a_problem_and_stops_the_table(tmp_path, challenge, row, message):
    good = unit_row(1) if challenge == "AU" else "0,0"
    path = lines(tmp_path, challenge, "v", [good, row, good])
    crop(tmp_path, "v", [1])
    data = AffWild2(str(tmp_path), challenges=challenge)
    (problem,) = data.problems()
    assert problem.startswith(f"{path}:3: ")
    assert message in problem
    with pytest.raises(DataError, match="1 problem"):
        data.table()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty; its first line must be valence,arousal"),
        (b"valence\n0,0\n", "the header is 'valence'"),
    ],
)
def test_a_wrong_header_is_a_problem(text, message):
    values, problems = parse_columns(text, VA)
    assert values.shape == (text.count(b"0,0"), 2)
    assert [line for line, _ in problems] == [1]
    assert message in problems[0][1]


@given(st.binary(max_size=200), st.sampled_from([AU, VA]), st.booleans())
def test_no_bytes_crash_it_or_lose_a_row(junk, challenge, with_header):
    header = ",".join(challenge.parts).encode() + b"\r\n" if with_header else b""
    values, problems = parse_columns(header + junk, challenge)
    text = (header + junk).removeprefix(b"\xef\xbb\xbf").splitlines()
    while text and not text[-1].strip():
        text.pop()
    assert len(values) == max(len(text) - 1, 0)
    wrong = {line for line, _ in problems}
    assert all(number in wrong or not np.isnan(row).all() or b"-" in text[number - 1]
               for number, row in enumerate(values, start=2))  # fmt: skip


@pytest.mark.parametrize(
    ("challenges", "message"), [("va", "unknown challenge 'va'"), ([], "different names"), (["AU", "AU"], "different")]
)
def test_unknown_challenges_are_refused(tmp_path, challenges, message):
    with pytest.raises(ConfigError, match=message):
        AffWild2(str(tmp_path), challenges=challenges)


def test_a_folder_of_one_challenge_is_no_annotation_of_two(tmp_path):
    annotate(tmp_path, "v", [1])
    lines(tmp_path, "VA", "v", ["0,0"])
    crop(tmp_path, "v", [1])
    with pytest.raises(DataError, match="annotation of one challenge") as caught:
        AffWild2(str(tmp_path), annotations=str(tmp_path / EXPR), challenges=["EXPR", "VA"])
    assert "the folder above it" in caught.value.hint
    above = str(tmp_path / "6th ABAW Annotations")
    assert len(AffWild2(str(tmp_path), annotations=above, challenges=["EXPR", "VA"]).table()) == 1


def test_every_nth_frame_counts_those_with_a_label_of_any_named_challenge(tmp_path):
    annotate(tmp_path, "v", [-1, 2, -1, 4, -1])
    lines(tmp_path, "VA", "v", ["-5,-5", "0,0", "-5,0", "-5,-5", "-5,-5", "1,1"])
    crop(tmp_path, "v", [1])
    data = AffWild2(str(tmp_path), challenges=["EXPR", "VA"], every=2)
    assert data.table().number.tolist() == [2, 4]  # of 2, 3, 4 and 6
    np.testing.assert_array_equal(labels_of(data, "VA").values, [(0, 0), (NAN, NAN)])
    assert AffWild2(str(tmp_path), every=2).table().number.tolist() == [2]


def test_the_test_set_is_that_of_the_named_challenges(tmp_path):
    annotate(tmp_path, "a", [1])
    lines(tmp_path, "VA", "b", ["0,0"])
    for clip in ("a", "b", "e", "f"):
        crop(tmp_path, clip, [1])
    folder = tmp_path / "names_of_videos_in_each_test_set"
    folder.mkdir()
    (folder / "Expression_Recognition_Challenge_test_set_release.txt").write_text("b\ne\n", encoding="utf-8")
    (folder / "Valence_Arousal_Estimation_Challenge_test_set_release.txt").write_text("a\nf\n", encoding="utf-8")

    def clips(challenges):
        table = AffWild2(str(tmp_path), test=True, challenges=challenges).table()
        return dict(zip(table.clip.tolist(), table.split.tolist(), strict=True))

    assert clips("EXPR") == {"a": "train", "b": "test", "e": "test"}
    assert clips("VA") == {"a": "test", "b": "train", "f": "test"}
    assert clips(["EXPR", "VA"]) == {"a": "train", "b": "train", "e": "test", "f": "test"}


@pytest.mark.parametrize("faults", [False, True])
def test_what_the_writer_writes_is_read(tmp_path, faults):
    faces = Synthetic(train=16, val=10, test=9, clips=1, clip_length=6)
    out = tmp_path / "out"
    out.mkdir()
    list(write_affwild2(out, faces, faults=faults))
    table = faces.table()
    for name in ("AU", "VA"):
        data = AffWild2(str(out), challenges=name)
        assert list(data.problems()) == []
        read, labels = data.table(), labels_of(data, name)
        given = faces.task_labels(TASKS[name])
        values = given.values[:, [given.names.index(part) for part in labels.names]]
        clips = list(dict.fromkeys(table.clip[table.split != "test"].tolist()))
        written = sorted(set(read.clip.tolist()))
        assert len(written) == len(clips) - (2 if faults else 0)  # one of train and one of val is not in the challenge
        for clip in written:
            shown = labels.values[read.clip == clip]
            assert any(
                _equal_start(shown, values[table.clip == source], 6e-3 if name == "VA" else 0) for source in clips
            )
    other = {path.name for path in (out / "6th ABAW Annotations/VA_Estimation_Challenge/Validation_Set").iterdir()}
    expressions = {path.name for path in (out / EXPR / "Train_Set").iterdir()}
    assert bool(other & expressions) == faults
    both = AffWild2(str(out), challenges=["EXPR", "AU", "VA"])
    units = {unit: set(both.table().split[both.table().unit == unit]) for unit in set(both.table().unit)}
    assert all(len(splits) == 1 for splits in units.values())
    assert len(both.table()) == len(AffWild2(str(out)).table())


def _equal_start(shown: np.ndarray, given: np.ndarray, atol: float) -> bool:
    """Whether labels are those of a clip, apart from a line more or fewer."""
    count = min(len(shown), len(given)) - 1
    return np.allclose(shown[:count], given[:count], atol=atol, equal_nan=True) and abs(len(shown) - len(given)) <= 2
