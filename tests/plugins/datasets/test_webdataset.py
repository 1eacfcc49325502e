"""Tars of images with labels, and tars that are refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.webdataset import WebDataset


def png(grey: int) -> bytes:
    return cv2.imencode(".png", np.full((6, 5, 3), grey, np.uint8))[1].tobytes()


def tar(path: Path, members: dict[str, bytes], **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, how.pop("mode", "w"), **how) as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def about(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def hostile(path: Path, **fields: Any) -> Path:
    """A good sample, then a member with other header fields."""
    tar(path, {"a.png": png(1), "a.cls": b"happy"})
    info = tarfile.TarInfo(fields.pop("name", "b.png"))
    for name, value in fields.items():
        setattr(info, name, value)
    with tarfile.open(path, "a") as out:
        out.addfile(info)
    return path


def test_images_labels_and_splits_are_read_in_place(tmp_path: Path) -> None:
    tar(tmp_path / "train-0.tar", {"x/1.png": png(10), "x/1.cls": b"sad\n", "x/2.PNG": png(20), "x/2.cls": b"happy"})
    tar(tmp_path / "train-1.tar", {"./y/1.seg.txt": b"?", "y/1.png": png(30), "y/1.cls": b"happy", "y/3.png": png(40)})
    tar(tmp_path / "val/0.tar", {"z.png": b"no image", "z.cls": b"sad", "w.cls": b"sad", "._w.png": b"?"})
    data = WebDataset(str(tmp_path))
    assert data.classes == ("happy", "sad")
    assert data.frames.clip.tolist() == ["x/1", "x/2", "y/1", "y/3", "z", "w"]
    assert data.frames.label.tolist() == [1, 0, 0, -1, 1, 1]
    assert data.frames.split.tolist() == ["train"] * 4 + ["val"] * 2
    images = data.images(np.arange(6)[::-1])[::-1]
    assert [None if image is None else int(image[0, 0, 0]) for image in images] == [10, 20, 30, 40, None, None]
    assert data.has_image().tolist() == [True] * 5 + [False]
    assert list(data.problems()) == [f"{tmp_path / 'val/0.tar'}: w: no image"]
    assert data.where(2) == f"{tmp_path / 'train-1.tar'}: y/1.png"
    assert list(data.image_files(np.array([0, 1, 4]))) == [str(tmp_path / "train-0.tar"), str(tmp_path / "val/0.tar")]


def test_json_members_give_class_subject_clip_number_and_split(tmp_path: Path) -> None:
    members = {}
    for key, number, label, split in (("b", 2, 1, "train"), ("a", 1, 0, "Train"), ("c", 7, None, "valid")):
        members[f"{key}.png"] = png(number)
        members[f"{key}.json"] = about(
            emotion=label, who=f"p{number // 3}", video="v" + split[:1].lower(), t=number, part=split
        )
    tar(tmp_path / "one.tar", members)
    options: dict[str, Any] = {"subject": "who", "clip": "video", "number": "t", "split": "part"}
    data = WebDataset(str(tmp_path / "one.tar"), label="emotion", classes=["calm", "glad"], **options)
    table = data.table()
    assert list(zip(table.clip.tolist(), table.number.tolist(), table.label.tolist(), strict=True)) == [
        ("vt", 1, 0),
        ("vt", 2, 1),
        ("vv", 7, -1),
    ]
    assert table.subject.tolist() == ["p0", "p0", "p2"]
    assert table.split.tolist() == ["train", "train", "val"]
    mapped = WebDataset(str(tmp_path), label="emotion", classes=["calm", "glad"], class_map={"glad": "happy"})
    assert mapped.classes == ("calm", "happy")
    with pytest.raises(ConfigError, match=r"numbers \(0, 1\), and their names are not known") as refused:
        WebDataset(str(tmp_path), label="emotion")
    assert refused.value.hint == "classes=[NAME_OF_0,NAME_OF_1,...]"
    with pytest.raises(DataError, match=r"field 'age' is missing.*its fields: emotion, who, video, t, part"):
        WebDataset(str(tmp_path), label="emotion", classes=["calm", "glad"], subject="age")
    with pytest.raises(DataError, match="class '2' is not one of: calm, glad"):
        WebDataset(str(tmp_path), label="t", classes=["calm", "glad"])


def test_the_identity_of_the_data_is_that_of_the_tars(tmp_path: Path) -> None:
    members = {"a.png": png(1), "a.cls": b"x", "b.png": png(2), "b.cls": b"y"}
    first = WebDataset(str(tar(tmp_path / "one/d.tar", members))).fingerprint()
    assert WebDataset(str(tar(tmp_path / "two/d.tar", members).parent)).fingerprint() == first
    assert WebDataset(str(tar(tmp_path / "three/d.tar", {**members, "a.png": png(3)}))).fingerprint() != first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is a link, a device or sparse"),
        ({"type": tarfile.LNKTYPE, "linkname": "a.png"}, "is a link, a device or sparse"),
        ({"type": tarfile.CHRTYPE}, "is a link, a device or sparse"),
        ({"type": tarfile.FIFOTYPE}, "is a link, a device or sparse"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "is a link, a device or sparse|cannot be read"),
        ({"name": "../../b.png"}, "leads out of the tar"),
        ({"name": "/b.png"}, "leads out of the tar"),
        ({"name": "x/../../b.cls"}, "leads out of the tar"),
    ],
)
def test_hostile_members_are_refused_in_one_line(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = hostile(tmp_path / "bad.tar", **fields)
    with pytest.raises(DataError, match=message) as refused:
        WebDataset(str(path))
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_tars_that_are_cut_compressed_or_no_tars_are_refused(tmp_path: Path) -> None:
    whole = tar(tmp_path / "w.tar", {"a.png": png(1), "a.cls": b"x", "b.png": png(2) * 50, "b.cls": b"y"}).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for kept in (100, 512, 700, 1024, end - 600, end, end // 512 * 512 + 512):
        (tmp_path / "w.tar").write_bytes(whole[:kept])
        with pytest.raises(DataError, match=r"w\.tar"):
            WebDataset(str(tmp_path))
    (tmp_path / "w.tar").write_bytes(b"\x89PNG" * 1000)
    with pytest.raises(DataError, match="cannot be read as an uncompressed tar"):
        WebDataset(str(tmp_path))
    (tmp_path / "w.tar").unlink()
    tar(tmp_path / "w.tar.gz", {"a.png": png(1)}, mode="w:gz")
    with pytest.raises(DataError, match=r"no \.tar file below") as refused:
        WebDataset(str(tmp_path))
    assert "w.tar.gz" in refused.value.hint


def test_bombs_are_not_read(tmp_path: Path) -> None:
    huge = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (10**5).to_bytes(4, "big") * 2 + b"\0\0\0\0IEND\xaeB`\x82"
    data = WebDataset(str(tar(tmp_path / "b.tar", {"a.png": huge, "a.cls": b"x", "b.png": png(1), "b.cls": b"y"})))
    assert data.images(np.array([0])) == [None]
    tar(tmp_path / "b.tar", {"a.png": png(1), "a.json": b" " * (2**20 + 1)})
    with pytest.raises(DataError, match=r"a\.json has 1,048,577 bytes; at most 1,048,576 are read"):
        WebDataset(str(tmp_path))
    tar(tmp_path / "b.tar", {"a.png": png(1), "a.json": b"[" * 100_000})
    with pytest.raises(DataError, match=r"a\.json is not JSON in UTF-8"):
        WebDataset(str(tmp_path))
    header = tarfile.TarInfo("a.png")
    header.size = 2**40
    (tmp_path / "b.tar").write_bytes(header.tobuf() + b"\0" * 2048)
    with pytest.raises(DataError, match=r"claims 1,099,511,627,776 bytes|cannot be read"):
        WebDataset(str(tmp_path))


def test_keys_and_frames_that_repeat_are_refused(tmp_path: Path) -> None:
    for name in ("1.tar", "2.tar"):
        tar(tmp_path / name, {"a.png": png(1), "a.cls": b"x", "a.json": about(v="v", t=1)})
    with pytest.raises(DataError, match=r"two samples have one key: .*1\.tar: a and .*2\.tar: a"):
        WebDataset(str(tmp_path))
    with pytest.raises(DataError, match="clip 'v' has frame 1 twice"):
        WebDataset(str(tmp_path), clip="v", number="t")
    tar(tmp_path / "2.tar", {"b.png": png(1), "b.jpg": png(1)})
    with pytest.raises(DataError, match="sample 'b' has two images"):
        WebDataset(str(tmp_path))


def test_some_tars_without_a_split_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", {"a.png": png(1), "a.cls": b"x"})
    tar(tmp_path / "training2.tar", {"b.png": png(1), "b.cls": b"y"})
    assert set(WebDataset(str(tmp_path)).frames.split.tolist()) == {"train"}
    tar(tmp_path / "more.tar", {"c.png": png(1), "c.cls": b"y"})
    with pytest.raises(DataError, match=r"more\.tar begins with no split"):
        WebDataset(str(tmp_path))
