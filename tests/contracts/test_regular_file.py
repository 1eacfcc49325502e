"""Files that a user names: a pipe or a device is refused at once, and the readers of plugins use that."""

import ast
import os
import socket
from pathlib import Path

import pytest

from fusionkit.contracts.file_hash import content_hash
from fusionkit.contracts.image_file import load_image
from fusionkit.contracts.regular_file import open_file, read_file, special_file
from fusionkit.errors import DataError, StorageError
from fusionkit.media.video import Video
from fusionkit.storage.artifact import write_file

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")


@pytest.fixture(params=["pipe", "device", "link to a device"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "file.png"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        return Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    return path


def test_a_pipe_or_a_device_is_refused_by_every_reader(special: Path) -> None:
    with pytest.raises(OSError, match="a pipe or a device"):
        open_file(special)
    with pytest.raises(DataError, match="a pipe or a device"):
        load_image(special)
    with pytest.raises(DataError, match="a pipe or a device"):
        next(Video(special).frames())
    assert content_hash(special) == content_hash("nowhere")
    assert "device" in special_file(special)


def test_a_device_is_never_replaced_by_a_written_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match=r"pipe cannot be written: it is a pipe or a device"):
        write_file(tmp_path / "pipe", b"text")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_files_and_links_to_files_are_read(tmp_path: Path) -> None:
    file, link = tmp_path / "a.txt", tmp_path / "b.txt"
    file.write_bytes("é\r\n".encode())
    link.symlink_to(file)
    assert read_file(link, 4) == "é\r\n".encode()
    with pytest.raises(OSError, match="has 4 bytes; at most 3 are read"):
        read_file(link, 3)
    with open_file(link, "r", encoding="utf-8") as stream:
        assert stream.read() == "é\n"
    assert (special_file(link), special_file(tmp_path), special_file(tmp_path / "nothing")) == ("", "", "")


def test_folders_missing_files_and_sockets_keep_their_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device"):
            open_file(tmp_path / "s")


def test_plugins_open_the_files_of_users_by_the_function_that_refuses_pipes() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "plugins").glob("fusionkit_*/*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "open")
            or (isinstance(node.func, ast.Attribute) and node.func.attr in ("read_bytes", "read_text"))
        )
    ]
    assert found == []
