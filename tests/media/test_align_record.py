"""What is kept about one input can be read again, and damage counts as nothing kept."""

import json
from pathlib import Path

from fusionkit.media.align_record import AlignRecord, ClipRecord, records

RECORD = AlignRecord("a.mp4", {"size": 1}, 100, 4.0, 63, 3, [ClipRecord("a", 60, [[1, 50], [91, 100]])], ["a fault"])


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    RECORD.write(tmp_path, "a")
    assert AlignRecord.read(tmp_path / "align/a.json") == RECORD
    assert records(tmp_path) == {"a": RECORD}


def test_one_that_is_missing_or_damaged_counts_as_none(tmp_path: Path):
    RECORD.write(tmp_path, "a")
    path = tmp_path / "align/a.json"
    assert AlignRecord.read(tmp_path / "align/none.json") is None
    for damage in (b"", b"{", b"[]", json.dumps({"clips": []}).encode(), json.dumps({"clips": [{"x": 1}]}).encode()):
        path.write_bytes(damage)
        assert AlignRecord.read(path) is None
        assert records(tmp_path) == {}
