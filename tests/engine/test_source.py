"""A source is a checked data set, limited by whole clips."""

from __future__ import annotations

import numpy as np
import pytest
from toy_components import Blobs, registered, toy_house, toy_table  # noqa: F401
from toy_tasks import divided

from fusionkit.contracts import FrameTable
from fusionkit.engine.source import limited, open_source
from fusionkit.errors import DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


def test_without_a_limit_a_source_is_the_whole_data_set() -> None:
    source = open_source(Spec("toy-blobs"), None)
    assert source.rows.tolist() == list(range(320))
    assert source.table.digest() == Blobs().frames.digest()
    assert source.classes == ("calm", "glad", "sad")


def test_rows_of_a_limited_source_are_the_data_sets_own(monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(Spec("toy-blobs"), 40)
    full = Blobs()
    assert (np.diff(source.rows) > 0).all()
    assert source.table.clip.tolist() == full.frames.clip[source.rows].tolist()
    images = source.images(np.arange(6))
    for row, image in zip(source.rows[:6], images, strict=True):
        reference = full.read(np.array([row]))[0]
        assert (image is None) == (reference is None)
        assert image is None or np.array_equal(image, reference)
    assert source.where(2) == full.where(int(source.rows[2]))


def test_a_limit_keeps_whole_clips_and_about_so_many_frames_of_each_split() -> None:
    table = toy_table(40, 8, 0)
    rows = limited(table, 40)
    for split in ("train", "val", "test"):
        kept = rows[table.split[rows] == split]
        clips = sorted(set(table.clip[kept].tolist()))
        assert kept.tolist() == np.flatnonzero(np.isin(table.clip, clips)).tolist()
        assert 40 <= len(kept) < 40 + 8  # a clip here has 8 frames


def test_a_tiny_limit_still_keeps_a_clip_for_every_class() -> None:
    label = np.repeat([0, 1, 2], 50)
    clip = np.repeat([f"{n:02d}" for n in range(15)], 10)
    table = FrameTable.of(clip, np.tile(np.arange(10), 15), label)
    rows = limited(table, 1)
    assert np.bincount(label[rows]).tolist() == [10, 10, 10]


def test_a_limit_above_the_size_keeps_everything() -> None:
    table = toy_table(10, 8, 0)
    assert limited(table, 10_000).tolist() == list(range(80))


def test_a_limit_takes_the_classes_in_turn() -> None:
    label = np.repeat([0, 1, 2, 3], [940, 20, 20, 20])
    table = FrameTable.of([f"{n:04d}" for n in range(1000)], [0] * 1000, label)
    assert np.bincount(label[limited(table, 40)]).tolist() == [10, 10, 10, 10]


def test_a_limit_is_part_of_the_identity_and_the_same_every_time() -> None:
    prints = [open_source(Spec("toy-blobs"), limit).fingerprint for limit in (None, 40, 40, 80)]
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3


def test_a_limited_table_without_labels_is_refused_by_the_split() -> None:
    class Silent(Blobs):
        @property
        def frames(self) -> FrameTable:
            table = super().frames
            return FrameTable.of(table.clip, table.number, np.full(len(table), -1), split=table.split)

    with registered(DATASETS, "toy-silent", Silent):
        source = open_source(Spec("toy-silent"), 20)
        with pytest.raises(DataError, match="no frame is labelled"):
            divided(Spec("official"), source.table, source.classes)


def test_a_table_out_of_order_is_refused_before_anything_runs() -> None:
    class Shuffled(Blobs):
        @property
        def frames(self) -> FrameTable:
            return super().frames.take(np.arange(320)[::-1])

    with registered(DATASETS, "toy-shuffled", Shuffled), pytest.raises(DataError, match="must rise within a clip"):
        open_source(Spec("toy-shuffled"), None)
