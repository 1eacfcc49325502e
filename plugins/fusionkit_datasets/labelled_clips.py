"""DFEW, FERV39k and MAFW: video clips with one expression each, as folders of face images."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from fusionkit.contracts import Range
from fusionkit.contracts.image_file import ENDINGS
from fusionkit.errors import DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.stills import FileImages, Listing, Still, Stills, root_folder, wrong_root

Fold = Annotated[int, Range(least=1, most=5)]
Lines = Callable[[AnnotationFile], Iterator[tuple[int, str, str]]]  # (line, clip, class as text)

_DFEW = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")  # by number, from 1
_FERV39K = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
_MAFW = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)


class _LabelledClips(Stills):
    """Clips in folders of images, and lists of clips with one class each; a frame has the class of its clip."""

    def _read(
        self,
        root: str,
        layout: str,
        classes: Sequence[str],
        lists: Mapping[str, str],
        folders: Sequence[str],
        lines: Lines,
    ) -> Listing:
        """List the frames of all clips.

        Args:
            root: folder of the data set.
            layout: what is expected, for messages.
            classes: class names.
            lists: split to the list of its clips, below the root.
            folders: folders of clips, below the root; the first that exists is read.
            lines: function that reads a list.

        Raises:
            DataError: if a list or all folders are missing.
        """
        name = type(self).__name__.lower()
        top = root_folder(name, root, layout)
        folder = next((folder for folder in folders if (top / folder).is_dir()), None)
        if folder is None or not all((top / path).is_file() for path in lists.values()):
            raise wrong_root(name, top, [*lists.values(), folders[0]], layout)
        stills: list[Still] = []
        images, digests = list[str](), list[str]()
        faults, problems = list[str](), list[str]()
        for split, path in lists.items():
            file = AnnotationFile(name, top / path)
            for line, clip, label in lines(file):
                if label not in classes:
                    file.fault(line, f"class {label[:40]!r} must be one of {', '.join(classes)}")
                    continue
                frames = _frames(top / folder / clip)
                if not frames:
                    problems.append(f"{file.path}:{line}: clip {clip!r} has no images in {top / folder / clip}")
                for number, image in frames:
                    stills.append(Still(clip, classes.index(label), split, line, file.name, number))
                    images.append(f"{folder}/{clip}/{image}")
            digests.append(f"{split} {file.digest()}")
            faults += file.faults
        return Listing(stills, FileImages(top, images), "\n".join(digests), faults=faults, problems=problems)


class Dfew(_LabelledClips):
    """DFEW: clips of films with seven expressions; five folds with train and test.

    ``EmoLabel_DataSplit/{train,test}(single-labeled)/set_<fold>.csv`` has clip and number, 1 to 7; the images of a clip
    are ``Clip/clip_224x224/00001/*.jpg`` (or ``Clip/jpg_256``). Every frame has the label of its clip; ``labels =
    clip`` scores clips, as publications do. Clips without images are left out, and are problems of ``fusionkit data
    check``.

    Args:
        root: the folder; ``~`` is the home folder.
        fold: number of the fold, 1 to 5.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if a list or the images are missing, or a line is wrong.

    Reference:
        X. Jiang et al., DFEW: A Large-Scale Database for Recognizing Dynamic Facial Expressions in the Wild, ACM
        Multimedia 2020, arXiv:2008.05924; layout and numbers as in https://github.com/sunlicai/MAE-DFER.
    """

    def __init__(self, root: str, fold: Fold = 1, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(_DFEW, class_map)
        lists = {split: f"EmoLabel_DataSplit/{split}(single-labeled)/set_{fold}.csv" for split in ("train", "test")}
        layout = "EmoLabel_DataSplit/{train,test}(single-labeled)/set_<fold>.csv and Clip/clip_224x224/00001/*.jpg"
        folders = ("Clip/clip_224x224", "Clip/jpg_256")
        super().__init__(self._read(root, layout, _DFEW, lists, folders, _dfew_lines), mapped)


class Ferv39k(_LabelledClips):
    """FERV39k: clips of 22 scenes with seven expressions; train and test.

    ``4_setups/All_scenes/{train,test}_All.csv`` has lines such as ``Action/Happy/0015 Happy``; the images of a clip are
    in ``2_ClipsforFaceCrop/Action/Happy/0015``. Every frame has the label of its clip; ``labels = clip`` scores clips,
    as publications do. Clips without images are left out, and are problems of ``fusionkit data check``.

    Args:
        root: the folder; ``~`` is the home folder.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if a list or the images are missing, or a line is wrong.

    Reference:
        Y. Wang et al., FERV39k: A Large-Scale Multi-Scene Dataset for Facial Expression Recognition in Videos, CVPR
        2022, arXiv:2203.09463; layout as in https://github.com/sunlicai/MAE-DFER.
    """

    def __init__(self, root: str, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(_FERV39K, class_map)
        lists = {split: f"4_setups/All_scenes/{split}_All.csv" for split in ("train", "test")}
        layout = "4_setups/All_scenes/{train,test}_All.csv and 2_ClipsforFaceCrop/<scene>/<class>/<clip>/*.jpg"
        super().__init__(self._read(root, layout, _FERV39K, lists, ("2_ClipsforFaceCrop",), _worded_lines), mapped)


class Mafw(_LabelledClips):
    """MAFW: clips with one of eleven expressions; five folds with train and test.

    ``split/single/no_caption/set_<fold>/{train,test}.txt`` has lines such as ``00025.mp4 anger``; the images of a clip
    are in ``data/faces/00025`` (or ``data/frames``). Every frame has the label of its clip; ``labels = clip`` scores
    clips, as publications do. Clips without images are left out, and are problems of ``fusionkit data check``.

    Args:
        root: the folder; ``~`` is the home folder.
        fold: number of the fold, 1 to 5.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if a list or the images are missing, or a line is wrong.

    Reference:
        Y. Liu et al., MAFW: A Large-scale, Multi-modal, Compound Affective Database for Dynamic Facial Expression
        Recognition in the Wild, ACM Multimedia 2022, arXiv:2208.00847; layout as in
        https://github.com/sunlicai/MAE-DFER. Only class names are read, since numbers differ between repositories.
    """

    def __init__(self, root: str, fold: Fold = 1, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(_MAFW, class_map)
        lists = {split: f"split/single/no_caption/set_{fold}/{split}.txt" for split in ("train", "test")}
        layout = "split/single/no_caption/set_<fold>/{train,test}.txt and data/faces/00025/*.png"
        super().__init__(self._read(root, layout, _MAFW, lists, ("data/faces", "data/frames"), _video_lines), mapped)


def _dfew_lines(file: AnnotationFile) -> Iterator[tuple[int, str, str]]:
    for line, fields in file.rows():
        if line == 1 and fields[-1] == "label":
            continue
        if len(fields) != 2 or not fields[0].isdecimal() or fields[1] not in map(str, range(1, len(_DFEW) + 1)):
            file.fault(line, f"expected clip and class number in 1..{len(_DFEW)}, found {','.join(fields)[:40]!r}")
        else:
            yield line, f"{int(fields[0]):05d}", _DFEW[int(fields[1]) - 1]


def _worded_lines(file: AnnotationFile) -> Iterator[tuple[int, str, str]]:
    for line, words in file.words(least=2):
        clip = " ".join(words[:-1])
        if clip.startswith("/") or ".." in clip.split("/"):
            file.fault(line, f"clip {clip[:40]!r} must be a folder below the root")
        else:
            yield line, clip, words[-1]


def _video_lines(file: AnnotationFile) -> Iterator[tuple[int, str, str]]:
    for line, clip, label in _worded_lines(file):
        yield line, clip.removesuffix(".mp4"), label


def _frames(folder: Path) -> list[tuple[int, str]]:
    """Return number and name of each image of a clip, by the last digits of the name.

    Raises:
        DataError: if a name has no number, or two have the same.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208  # many folders
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: dict[int, str] = {}
    for name in names:
        stem, _, ending = name.rpartition(".")
        if f".{ending.lower()}" in ENDINGS:
            digits = re.findall(r"[0-9]{1,18}", stem)
            if not digits:
                raise DataError(f"{folder / name}: the name of an image must have a frame number")
            if (other := found.setdefault(int(digits[-1]), name)) != name:
                raise DataError(f"{folder / name} and {other} are the same frame")
    return sorted(found.items())
