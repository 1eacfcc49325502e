"""The stored result of an input is read back; a damaged one counts as missing."""

import json
from pathlib import Path

from fusionkit.media.align import AlignedClip, AlignedInput

RESULT = AlignedInput("a.mp4", {"size": 1}, 100, 4.0, 63, 3, [AlignedClip("a", 60, [[1, 50], [91, 100]])], ["a fault"])


def test_a_result_is_read_back(tmp_path: Path):
    RESULT.write(tmp_path, "a")
    assert AlignedInput.read(tmp_path / "align/a.json") == RESULT
    assert AlignedInput.read_all(tmp_path) == {"a": RESULT}


def test_a_missing_or_damaged_result_is_none(tmp_path: Path):
    RESULT.write(tmp_path, "a")
    path = tmp_path / "align/a.json"
    assert AlignedInput.read(tmp_path / "align/none.json") is None
    for damage in (b"", b"{", b"[]", json.dumps({"clips": []}).encode(), json.dumps({"clips": [{"x": 1}]}).encode()):
        path.write_bytes(damage)
        assert AlignedInput.read(path) is None
        assert AlignedInput.read_all(tmp_path) == {}
