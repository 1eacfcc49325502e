"""RAF-DB, the basic expressions: 15,339 faces from the web, as its list and images or as class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_folders import class_folders, find_images
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.stills import FileImages, Listing, Still, Stills, root_folder

LAYOUT = "EmoLabel/list_patition_label.txt with Image/aligned, or {train,test}/<class>/<images>"
LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")

# By the number in the list, 1 to 7.
CLASSES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
# By the number of the folder, 0 to 6.
MANET = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger")


class RafDb(Stills):
    """RAF-DB with its seven basic expressions and its split into train and test.

    Two layouts: the original one, ``EmoLabel/list_patition_label.txt`` with ``Image/aligned/train_00001_aligned.jpg``
    or ``Image/original/train_00001.jpg``, where ``Image`` and ``_aligned`` may be missing; and class folders,
    ``{train,test}/<class>/<images>``. Folders are named after expressions or numbered. Two numberings are in use, and
    the files do not show which: numbered folders need ``numbering``.

    It has no official validation set: ``official`` takes dev from train.

    Args:
        images: images used with the list: ``aligned`` faces, or ``original`` photos.
        numbering: of numbered class folders: ``standard`` is the order of the list, from 1 (1 Surprise ... 7 Neutral)
            or from 0 (0 Surprise ... 6 Neutral); ``manet`` is 0 Neutral, 1 Happiness, 2 Sadness, 3 Surprise, 4 Fear,
            5 Disgust, 6 Anger. Default: folders have names.

    Raises:
        ConfigError: if the class map is invalid, or folders are numbered and ``numbering`` is not given.
        DataError: if the layout or a line of the list is not as above.

    Reference:
        S. Li, W. Deng, J. Du, Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition
        in the Wild, CVPR 2017; the list as read by https://github.com/yaoing/DAN (rafdb.py); the other numbering as in
        https://github.com/zengqunzhao/MA-Net (README).
    """

    def __init__(
        self,
        root: str,
        images: Literal["aligned", "original"] = "aligned",
        numbering: Literal["", "standard", "manet"] = "",
        class_map: ClassMapOption = None,
    ) -> None:
        mapped = ClassMap.of(CLASSES, class_map)
        top = root_folder("rafdb", root, LAYOUT)
        path = next((top / name for name in LISTS if (top / name).is_file()), None)
        super().__init__(_from_list(top, path, images) if path else _from_folders(top, numbering), mapped)


def _from_list(top: Path, path: Path, images: str) -> Listing:
    file = AnnotationFile("rafdb", path)
    stills = []
    for line, words in file.words(least=2):
        name, number = " ".join(words[:-1]), words[-1]
        split = next((split for split in ("train", "test") if name.startswith(split)), None)
        if split is None:
            file.fault(line, f"{name[:80]!r} must start with train or test")
            continue
        if number not in "1234567" or len(number) != 1:
            file.fault(line, f"label {number[:40]!r} must be 1 to 7")
            continue
        stills.append(Still(name, int(number) - 1, split, line, file.name))
    names = _image_names(top, images, [still.clip for still in stills])
    return Listing(stills, FileImages(top, names), file.digest(), faults=file.faults)


def _image_names(top: Path, images: str, listed: list[str]) -> list[str]:
    """Return the path of each listed image; the first of the known forms that one of the first images has."""
    suffixes = ("_aligned", "") if images == "aligned" else ("",)
    forms = [(folder, suffix) for folder in (f"Image/{images}", images) for suffix in suffixes]

    def name(form: tuple[str, str], each: str) -> str:
        stem, dot, ending = each.rpartition(".")
        return f"{form[0]}/{stem}{form[1]}{dot}{ending}" if dot else f"{form[0]}/{each}"

    form = next((form for form in forms if any((top / name(form, each)).is_file() for each in listed[:20])), forms[0])
    return [name(form, each) for each in listed]


def _from_folders(top: Path, numbering: str) -> Listing:
    files = find_images(str(top), "rafdb", LISTS)
    numbers = sorted({file.label for file in files if file.label.isdecimal()})
    return class_folders("rafdb", top, CLASSES, _digits(top, numbers, numbering))


def _digits(top: Path, numbers: list[str], numbering: str) -> dict[str, str]:
    """Return the expression of each numbered folder."""
    if not numbers:
        return {}
    if not numbering:
        raise ConfigError(
            f"rafdb: the class folders of {top} are numbered ({', '.join(numbers)}); option numbering is required",
            hint=f"numbering=standard ({', '.join(CLASSES)}) or numbering=manet ({', '.join(MANET)})",
        )
    if numbering == "manet":
        return {str(number): name for number, name in enumerate(MANET)}
    if ("0" in numbers) == ("7" in numbers):
        raise DataError(f"rafdb: class folders of {top} must be 0 to 6 or 1 to 7, not {', '.join(numbers)}")
    return {str(number): name for number, name in enumerate(CLASSES, start=0 if "0" in numbers else 1)}
