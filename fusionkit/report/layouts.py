"""Drawn faces, written as a known data set lays out its files: for trying pipelines before one has the data."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from fusionkit.artifact import unwritable
from fusionkit.contracts.dataset import FaceDataset
from fusionkit.contracts.layout import Layout
from fusionkit.errors import ConfigError, PluginError, cause_of
from fusionkit.registry import DATASETS, did_you_mean
from fusionkit.spec import Spec

GROUP = "fusionkit.layouts"
FEWEST_CLIPS = 32  # a quarter of them, the val and the test set each, must hold all eight classes
MISSING, UNLABELLED = 0.017, 0.08  # shares of frames; the first is Aff-Wild2's, the second is less than its 44 %


@dataclass(frozen=True)
class Drawing:
    """What is drawn: so many clips, half of them for training, of about so many frames.

    Attributes:
        difficulty: of the data set ``synthetic``, 0..1.
    """

    clips: int
    frames: int
    seed: int
    faults: bool
    difficulty: float = 0.5

    def spec(self) -> Spec:
        """The data set of drawn faces: each clip shows another person."""
        quarter = self.clips // 4
        share = {"missing": MISSING, "unlabelled": UNLABELLED} if self.faults else {"missing": 0.0, "unlabelled": 0.0}
        people = {"train": self.clips - 2 * quarter, "val": quarter, "test": quarter, "clips": 1}
        drawn = {"clip_length": self.frames, "seed": self.seed, "difficulty": self.difficulty}
        return Spec("synthetic", {**people, **drawn, **share})


def layout_names() -> list[str]:
    """The layouts that there are, sorted."""
    return sorted(_points())


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def find_layout(name: str) -> Layout:
    """A layout by name.

    Raises:
        ConfigError: if there is none of that name.
        PluginError: if it cannot be imported.
    """
    points = _points()
    if name not in points:
        raise ConfigError(f"unknown layout {name!r}{did_you_mean(name, points)}; known: {', '.join(layout_names())}")
    try:
        layout: Layout = points[name].load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"layout {name!r} ({points[name].value}) cannot be imported: {cause_of(error)}") from error
    return layout


def check_free(folder: Path) -> None:
    """Refuse a place where something is.

    Raises:
        ConfigError: if it is a file, or a folder that is not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already", hint="name a folder that is new or empty")


def write_layout(
    layout: Layout, faces: FaceDataset, folder: Path, faults: bool, advance: Callable[[int], None]
) -> None:
    """Write faces in a layout; the folder is there when it is whole.

    Args:
        layout: how.
        faces: what.
        folder: where; new or empty.
        faults: with what is wrong in the real data.
        advance: told how many frames are done, as they are.

    Raises:
        ConfigError: if something is there.
        StorageError: if it cannot be written.
    """
    with new_folder(folder) as aside:
        for count in layout(aside, faces, faults=faults):
            advance(count)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A place to write to, which becomes the folder when all is written; otherwise nothing is left.

    Raises:
        ConfigError: if something is there.
        StorageError: if it cannot be written.
    """
    check_free(folder)
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        aside.mkdir(parents=True)
        yield aside
        aside.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def draw(drawing: Drawing) -> FaceDataset:
    """The data set of a drawing.

    Raises:
        ConfigError: if there are too few clips, or the data set refuses its options.
    """
    if drawing.clips < FEWEST_CLIPS:
        raise ConfigError(f"{drawing.clips} clips are too few", hint=f"{FEWEST_CLIPS} or more, so that no class lacks")
    faces: FaceDataset = DATASETS.build(drawing.spec())
    return faces
