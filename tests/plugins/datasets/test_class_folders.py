"""Which folders are splits and classes, and which files are images."""

import errno
import os
from pathlib import Path

import pytest

from fusionkit.errors import DataError
from fusionkit_datasets.class_folders import find_images


def fill(root: Path, *names: str) -> Path:
    """Files of one byte; nothing in the tree is ever decoded."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def keys(root: Path) -> list[str]:
    return sorted(image.key for image in find_images(str(root)))


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_images(str(root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_folders_alone_have_no_split(tmp_path):
    fill(tmp_path, "happy/1.jpg", "sad/2.jpg")
    assert [(i.split, i.label, i.name, i.size) for i in sorted(find_images(str(tmp_path)), key=lambda i: i.key)] == [
        ("", "happy", "1.jpg", 1),
        ("", "sad", "2.jpg", 1),
    ]
    assert Path(find_images(str(tmp_path))[0].path).is_file()


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "VALIDATION"])
@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
def test_splits_are_known_by_their_usual_names_in_any_case(tmp_path, train, val):
    fill(tmp_path, f"{train}/a/1.jpg", f"{train}/b/2.jpg", f"{val}/a/3.jpg", "Test/b/4.jpg")
    assert keys(tmp_path) == ["test/b/4.jpg", "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"]


def test_train_alone_is_no_split(tmp_path):
    assert keys(fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg")) == ["a/1.jpg", "b/2.jpg"]


def test_every_ending_counts_in_any_case_and_other_and_hidden_files_do_not(tmp_path):
    images = ["1.jpg", "2.JPEG", "3.Png", "4.bmp", "5.webp", "6.tif", "7.TIFF", "two words ü.jpg", "a.b.jpg"]
    others = ["a.txt", "b.cr2", "jpg", "Thumbs.db", ".hidden.jpg", "._1.jpg", ".cache/1.jpg", "deep/.git/1.jpg"]
    fill(tmp_path, *(f"a/{name}" for name in images + others), "b/1.jpg", ".git/1.jpg", "labels.csv")
    assert keys(tmp_path) == sorted([f"a/{name}" for name in images] + ["b/1.jpg"])


def test_sub_folders_of_a_class_are_searched(tmp_path):
    assert keys(fill(tmp_path, "a/s1/v1/1.jpg", "a/2.jpg", "b/folder.jpg/3.jpg")) == [
        "a/2.jpg",
        "a/s1/v1/1.jpg",
        "b/folder.jpg/3.jpg",
    ]


def test_links_may_lead_in_circles_out_of_the_tree_and_nowhere(tmp_path):
    root = fill(tmp_path / "root", "a/1.jpg", "a/sub/2.jpg", "b/3.jpg")
    elsewhere = fill(tmp_path / "elsewhere", "4.jpg")
    (root / "a/sub/up").symlink_to(root / "a")
    (root / "a/sub/top").symlink_to(root)
    (root / "a/itself.jpg").symlink_to("itself.jpg")
    (root / "b/away").symlink_to(elsewhere)
    (root / "b/dead.jpg").symlink_to(elsewhere / "gone.jpg")
    assert keys(root) == ["a/1.jpg", "a/itself.jpg", "a/sub/2.jpg", "b/3.jpg", "b/away/4.jpg", "b/dead.jpg"]
    assert {image.name: image.size for image in find_images(str(root))}["dead.jpg"] == 0


def test_a_class_folder_may_be_a_link(tmp_path):
    root = fill(tmp_path / "root", "a/1.jpg")
    (root / "b").symlink_to(fill(tmp_path / "elsewhere", "2.jpg"))
    assert keys(root) == ["a/1.jpg", "b/2.jpg"]


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path, "faces/a/1.jpg", "faces/b/2.jpg")
    assert len(find_images("~/faces")) == 2


def test_a_class_folder_without_images_is_no_class(tmp_path):
    fill(tmp_path, "a/1.jpg", "b/2.jpg", "c/readme.txt")
    assert {image.label for image in find_images(str(tmp_path))} == {"a", "b"}


def test_a_missing_root_is_refused(tmp_path):
    message = refused(tmp_path / "nowhere")
    assert "nowhere" in message
    assert "does not exist" in message
    assert "ROOT/<class>/<images>" in message


def test_a_root_that_is_a_file_is_refused(tmp_path):
    assert "is not a folder" in refused(fill(tmp_path, "faces.zip") / "faces.zip")


def test_an_empty_root_is_refused(tmp_path):
    assert "found: nothing" in refused(tmp_path)


def test_a_root_without_class_folders_is_refused_saying_what_is_there(tmp_path):
    assert "2 images directly in it" in refused(fill(tmp_path / "flat", "1.jpg", "2.jpg"))
    assert "found: labels.csv, notes" in refused(fill(tmp_path / "none", "labels.csv", "notes/a.txt"))


def test_a_root_above_or_below_the_right_one_is_refused_with_the_spec_that_reads_it(tmp_path):
    fill(tmp_path / "above", "faces/train/a/1.jpg", "faces/train/b/1.jpg", "faces/val/a/2.jpg")
    assert f"use folder:root={tmp_path / 'above' / 'faces'}" in refused(tmp_path / "above")
    fill(tmp_path / "zip", "out/faces/a/1.jpg", "out/faces/b/1.jpg")
    assert f"use folder:root={tmp_path / 'zip' / 'out' / 'faces'}" in refused(tmp_path / "zip")


def test_a_single_class_is_refused(tmp_path):
    message = refused(fill(tmp_path, "happy/1.jpg", "happy/2.jpg"))
    assert "only one class (happy)" in message
    assert "at least two" in message


def test_classes_that_differ_only_in_case_or_unicode_form_are_refused(tmp_path):
    assert "'Happy' and 'happy'" in refused(fill(tmp_path / "case", "train/Happy/1.jpg", "val/happy/1.jpg"))
    assert "Unicode" in refused(fill(tmp_path / "form", "caf\u00e9/1.jpg", "cafe\u0301/1.jpg"))


def test_two_folders_for_one_split_are_refused(tmp_path):
    message = refused(fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"))
    assert "both the split val" in message


def test_images_beside_the_splits_are_refused_but_other_folders_are_not(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "docs/readme.txt")
    assert len(keys(tmp_path)) == 3
    told = refused(fill(tmp_path, "dev/a/1.jpg"))
    assert "dev is beside" in told
    assert "images without labels belong outside ROOT" in told


def test_splits_without_train_and_splits_without_images_are_refused(tmp_path):
    assert "no train" in refused(fill(tmp_path / "a", "val/a/1.jpg", "test/b/1.jpg"))
    assert "split val" in refused(fill(tmp_path / "b", "train/a/1.jpg", "train/b/1.jpg", "val/a/notes.txt"))


def test_a_folder_that_may_not_be_listed_is_refused_by_name(tmp_path, monkeypatch):
    def scandir(index: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", index)

    fill(tmp_path, "a/1.jpg", "b/2.jpg")
    monkeypatch.setattr(os, "scandir", scandir)
    message = refused(tmp_path)
    assert f"cannot list {tmp_path / 'a'}: Permission denied" in message
