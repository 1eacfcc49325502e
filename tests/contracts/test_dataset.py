"""Checks of the data set base class: tables, images and ready embeddings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.errors import DataError

TABLE = FrameTable.of(
    ["a", "a", "b", "c"], [1, 4, 0, 7], [0, -1, 1, 1], subject=["s", "s", "", ""], video=["", "", "v", ""]
)
IMAGE = np.zeros((2, 3, 3), np.uint8)


class Toy(FaceDataset):
    """Returns a given result."""

    def __init__(self, table: FrameTable = TABLE, images: Any = (), ready: Any = None, content: str = "") -> None:
        self._table, self._images, self._ready, self._content = table, images, ready, content

    classes = ("calm", "glad")

    @property
    def frames(self) -> FrameTable:
        return self._table

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        return list(self._images)

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        return self._ready  # type: ignore[no-any-return]

    def content(self) -> str:
        return self._content


def refused(table: FrameTable) -> str:
    with pytest.raises(DataError) as error:
        Toy(table).table()
    return str(error.value)


def test_a_valid_table_passes_unchanged() -> None:
    found = Toy().table()
    for name in ("clip", "number", "label", "subject", "video", "split"):
        np.testing.assert_array_equal(getattr(found, name), getattr(TABLE, name))
    assert (TABLE.label == np.array([0, UNLABELLED, 1, 1])).all()
    assert TABLE.split.tolist() == [""] * 4


def test_the_unit_is_the_subject_else_the_video_else_the_clip() -> None:
    assert TABLE.unit.tolist() == ["s", "s", "v", "c"]


def test_rows_are_taken_by_index_and_by_mask() -> None:
    by_index, by_mask = TABLE.take(np.array([2, 0])), TABLE.take(np.array([True, False, True, False]))
    assert by_index.clip.tolist() == ["b", "a"]
    assert by_mask.number.tolist() == [1, 0]
    assert by_index.digest() == by_mask.take(np.array([1, 0])).digest()
    assert by_index.digest() != by_mask.digest()


@pytest.mark.parametrize("column", ["clip", "number", "label", "subject", "split", "video"])
def test_every_column_counts_for_the_digest(column: str) -> None:
    values = getattr(TABLE, column).copy()
    values[3] = 9 if column in ("number", "label") else "z"
    assert replace(TABLE, **{column: values}).digest() != TABLE.digest()
    assert replace(TABLE, **{column: getattr(TABLE, column).copy()}).digest() == TABLE.digest()


@given(st.lists(st.sampled_from("ab"), max_size=6), st.lists(st.sampled_from("ab"), max_size=6))
def test_digests_keep_values_and_columns_separate(one: list[str], other: list[str]) -> None:
    def digest(clip: list[str]) -> str:
        return FrameTable.of(clip, [0] * len(clip), [0] * len(clip), subject=clip).digest()

    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (replace(TABLE, label=TABLE.label[:3]), "columns of the frame table differ in length"),
        (TABLE.take(np.array([], int)), "there are no frames"),
        (FrameTable.of(["a"], [0], [2]), "Toy: label 2 at clip 'a' frame 0 is not in -1..1"),
        (FrameTable.of(["a"], [0], [-2]), "label -2 at clip 'a' frame 0"),
        (FrameTable.of(["a"], [0], [0], split=["dev"]), "split names must be train, val or test, not dev"),
        (FrameTable.of(["a", "b", "a"], [0, 0, 1], [0, 0, 0]), "the frames of a clip must be contiguous"),
        (FrameTable.of(["a", "a"], [3, 2], [0, 0]), "clip 'a' frame 2: frame numbers must rise within a clip"),
        (FrameTable.of(["a", "b", "b"], [3, 2, 2], [0, 0, 0]), "clip 'b' frame 2: frame numbers must rise"),
        (FrameTable.of(["a", "b"], [1, 1], [0, 0], rate=[25, 0]), "clip 'b' frame 1: rate 0 must be above 0, or NaN"),
        (FrameTable.of(["a"], [1], [0], rate=np.inf), "clip 'a' frame 1: rate inf must be above 0, or NaN"),
        (FrameTable.of(["a", "a"], [1, 2], [0, 0], rate=[25, 30]), "frame 2: the frames of a clip must have one rate"),
        (FrameTable.of(["a", "a"], [1, 2], [0, 0], rate=[25, np.nan]), "the frames of a clip must have one rate"),
    ],
)
def test_an_invalid_table_is_refused_naming_the_row(table: FrameTable, message: str) -> None:
    assert message in refused(table)


def test_rates_have_a_hash_of_their_own_and_change_no_identity_of_data() -> None:
    known = replace(TABLE, rate=np.array([25, 25, np.nan, 30]))
    assert np.isnan(TABLE.rate).all()
    assert (TABLE.rates, known.digest()) == ("", TABLE.digest())
    assert len({known.rates, replace(TABLE, rate=np.full(4, 25.0)).rates, ""}) == 3
    np.testing.assert_array_equal(known.take(np.array([3, 0])).rate, [30, 25])


def test_classes_of_one_name_are_refused() -> None:
    class Twice(Toy):
        classes = ("calm", "calm")

    with pytest.raises(DataError, match="class names repeat: calm, calm"):
        Twice().table()


def test_images_pass_and_missing_ones_stay_missing() -> None:
    rows = np.array([0, 3])
    images = Toy(images=[IMAGE, None]).images(rows)
    assert images[0] is IMAGE
    assert images[1] is None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([IMAGE], "read gave 1 images for 2 rows"),
        ([IMAGE, IMAGE[..., 0]], r"clip 'c' frame 7 is uint8 \(2, 3\), not uint8 \(H, W, 3\)"),
        ([IMAGE.astype(float), None], r"clip 'a' frame 1 is float64 \(2, 3, 3\)"),
        ([None, np.zeros((2, 3, 4), np.uint8)], r"is uint8 \(2, 3, 4\)"),
        ([None, np.zeros((0, 3, 3), np.uint8)], r"is uint8 \(0, 3, 3\)"),
        ([IMAGE, "a.jpg"], "clip 'c' frame 7 is str"),
    ],
)
def test_an_invalid_image_is_refused_naming_the_row(images: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Toy(images=images).images(np.array([0, 3]))


def test_ready_embeddings_come_as_float32() -> None:
    values = np.arange(6.0).reshape(2, 3)
    got = Toy(ready=values).ready("audio", np.array([0, 1]))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.zeros(2), None, [[1.0], [2.0]]])
def test_ready_embeddings_of_another_shape_are_refused(values: Any) -> None:
    with pytest.raises(DataError, match=r"embeddings of view 'audio' must be \(n, D\) for 2 rows"):
        Toy(ready=values).ready("audio", np.array([0, 1]))


def test_the_fingerprint_counts_classes_table_and_content() -> None:
    class Renamed(Toy):
        classes = ("calm", "sad")

    Renamed.__name__ = "Toy"
    other = Toy(FrameTable.of(["a"], [0], [0]))
    prints = [each.fingerprint() for each in (Toy(), Renamed(), Toy(content="x"), other)]
    assert len(set(prints)) == len(prints)
    assert Toy().fingerprint() == prints[0]
