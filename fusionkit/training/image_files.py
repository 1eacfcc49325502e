"""Images in files: a folder with all its sub-folders, or a text file that lists paths."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path

import numpy as np

from fusionkit.contracts.image_file import ENDINGS, read_image
from fusionkit.errors import DataError
from fusionkit.training.images import Images


class ImageFiles(Images):
    """Image files below one folder.

    Args:
        root: the folder.
        names: paths below it, with ``/``; an absolute path stands for itself.
    """

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = names

    @classmethod
    def of_folder(cls, root: Path) -> ImageFiles:
        """Every image below a folder, in the order of their names; hidden files and folders are passed over.

        Raises:
            DataError: if there is none.
        """
        names: list[str] = []
        for place, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(place).relative_to(root).as_posix()
            prefix = "" if below == "." else f"{below}/"
            names += [prefix + name for name in files if _ending(name) in ENDINGS and not name.startswith(".")]
        if not names:
            raise DataError(f"{root} holds no images", hint=f"{', '.join(sorted(ENDINGS))}; sub-folders are searched")
        return cls(root, sorted(names))

    @classmethod
    def of_list(cls, path: Path) -> ImageFiles:
        """The images that a text file names, a path a line; relative ones are below the file's own folder.

        Raises:
            DataError: if it cannot be read, names nothing, or none of what it names is there.
        """
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a list of images: {error}") from error
        if not names:
            raise DataError(f"{path} lists no images", hint="a path a line, relative to the list's own folder")
        if not any((path.parent / name).is_file() for name in names):
            raise DataError(f"{path}: none of the files that it lists is there, {path.parent / names[0]} for one")
        return cls(path.parent, names)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray | None:
        """As every data set reads its files: :func:`fusionkit.contracts.image_file.load_image`."""
        return read_image(self.root / self.names[index])

    def where(self, index: int) -> str:
        """The file."""
        return str(self.root / self.names[index])

    @cached_property
    def fingerprint(self) -> str:
        """Of names and sizes."""
        state = hashlib.sha256()
        for name in self.names:
            try:
                size = (self.root / name).stat().st_size
            except OSError:
                size = 0
            state.update(f"{name}\t{size}\n".encode(errors="backslashreplace"))
        return state.hexdigest()[:16]


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  (ten times Path's speed, and there may be millions)
