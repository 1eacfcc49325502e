"""A manifest that is damaged, hostile or of another version is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fusionkit.errors import ConfigError, DataError
from fusionkit.predict.export.manifest import HeadInfo, Input, Manifest, is_exported, without_folders
from fusionkit.registry.spec import Spec

MANIFEST = Manifest(
    name="face/linear/none",
    dataset="synthetic",
    classes=("a", "b"),
    inputs=(Input("face", "face", "face", "pixels", (8, 8, 3), "hog", 0, "linear", (0.0,) * 3, (1.0,) * 3),),
    heads=(HeadInfo(0, "official", (0.5, 0.5), "none", None),),
    impute="nearest",
    smoother={"causal": True},
    extractor=None,
    extractor_files=(),
    boxes=None,
    files={"model.onnx": "0" * 64},
    check={},
    made_by={"fusionkit": "1"},
)


def changed(folder: Path, **changes: Any) -> Path:
    content = {**json.loads(MANIFEST.dump()), **changes}
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert not is_exported(tmp_path)
    read = Manifest.load(changed(tmp_path))
    assert is_exported(tmp_path)
    assert (read.classes, read.inputs, read.heads, read.files) == (
        *(MANIFEST.classes, MANIFEST.inputs[:0] + read.inputs, MANIFEST.heads, MANIFEST.files),
    )
    assert read.inputs[0].shape == (8, 8, 3)
    assert read.dump() == MANIFEST.dump()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusionkit_export": 2}, "written by a later fusionkit"),
        ({"fusionkit_export": "1"}, "is not the manifest of an exported cell"),
        ({"classes": None}, "is damaged: TypeError"),
        ({"heads": []}, "do not fit each other"),
        ({"inputs": [{"name": "face"}]}, "is damaged: TypeError|is damaged: KeyError"),
        ({"files": {"../../secret": "0"}}, "outside the folder"),
        ({"files": {"/etc/passwd": "0"}}, "outside the folder"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        Manifest.load(changed(tmp_path, **changes))
    assert "\n" not in str(refused.value)


def test_text_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no manifest\.json"):
        Manifest.load(tmp_path)
    for text in ("[" * 100_000, "{", "[]", '"x"'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DataError):
            Manifest.load(tmp_path)


def test_folders_of_a_machine_are_left_out() -> None:
    assert str(without_folders(Spec("timm", {"checkpoint": "/home/a/b.safetensors", "size": 8}))) == (
        "timm:checkpoint=b.safetensors,size=8"
    )
