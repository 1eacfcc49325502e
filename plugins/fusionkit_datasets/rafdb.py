"""RAF-DB, the basic expressions: 15,339 faces from the web, as its list and images or as class folders."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_folders import class_folders
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.folder_tree import find_images
from fusionkit_datasets.image_files import ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.still import Still
from fusionkit_datasets.stills import ClassMapOption, Stills, root_folder

LAYOUT = "EmoLabel/list_patition_label.txt with Image/aligned, or {train,test}/<class>/<images>"
LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")

# By its number in the list, 1 to 7.
STANDARD = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
# By the number of the folder, 0 to 6.
MANET = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger")


class RafDb(Stills):
    """RAF-DB with its seven basic expressions and its split into train and test.

    Two layouts: the one it is given out in, ``EmoLabel/list_patition_label.txt`` and ``Image/aligned`` (or
    ``Image/original``); and class folders, ``{train,test}/<class>/<images>``. Folders are named by expressions or
    numbered, and two numberings are in use that cannot be told apart by looking: numbered folders need ``numbering``.

    There is no official validation set: ``official`` carves dev from train.

    Args:
        root: the folder; ``~`` is the home folder.
        images: which images the list is read with: ``aligned`` faces, or ``original`` photos.
        numbering: of numbered class folders: ``standard`` is the list's order, from 1 (1 Surprise ... 7 Neutral) or
            from 0 (0 Surprise ... 6 Neutral); ``manet`` is 0 Neutral, 1 Happiness, 2 Sadness, 3 Surprise, 4 Fear,
            5 Disgust, 6 Anger.
        class_map: classes renamed, merged or left out: ``{Fear:null}``; ``abaw`` for the names of the ABAW challenge.

    Raises:
        ConfigError: if the class map is refused, or numbered folders are met without ``numbering``.
        DataError: if the layout or a line of the list is not as above.

    Reference:
        S. Li, W. Deng, J. Du, Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition
        in the Wild, CVPR 2017; the list as read by https://github.com/yaoing/DAN (rafdb.py); the other numbering as in
        https://github.com/zengqunzhao/MA-Net (README).
    """

    own: ClassVar[tuple[str, ...]] = STANDARD
    abaw: ClassVar[dict[str, str | None]] = {
        "Surprise": "Surprise",
        "Fear": "Fear",
        "Disgust": "Disgust",
        "Happiness": "Happiness",
        "Sadness": "Sadness",
        "Anger": "Anger",
        "Neutral": "Neutral",
    }

    def __init__(
        self,
        root: str,
        images: Literal["aligned", "original"] = "aligned",
        numbering: Literal["", "standard", "manet"] = "",
        class_map: ClassMapOption = None,
    ) -> None:
        mapped = ClassMap.of(self.own, class_map, self.abaw)
        top = root_folder("rafdb", root, LAYOUT)
        listed = next((top / name for name in LISTS if (top / name).is_file()), None)
        listing = _from_list(top, listed, images) if listed else _from_folders(top, numbering)
        super().__init__(listing, mapped)


def _from_list(top: Path, listed: Path, images: str) -> Listing:
    file = AnnotationFile("rafdb", listed)
    stills, names = [], []
    for line, words in file.words(least=2):
        name, number = " ".join(words[:-1]), words[-1]
        split = next((split for split in ("train", "test") if name.startswith(split)), None)
        if split is None:
            file.fault(line, f"{name[:80]!r} starts with neither train nor test")
            continue
        if number not in "1234567" or len(number) != 1:
            file.fault(line, f"label {number[:40]!r} is not 1 to 7")
            continue
        stills.append(Still(name, int(number) - 1, split, line, file.name))
        stem, dot, ending = name.rpartition(".")
        names.append(f"Image/{images}/{f'{stem}_aligned{dot}{ending}' if images == 'aligned' else name}")
    return Listing(stills, ImageFiles(top, names), file.digest(), faults=file.faults)


def _from_folders(top: Path, numbering: str) -> Listing:
    numbers = sorted({file.label for file in find_images(str(top)) if file.label.isdecimal()})
    return class_folders("rafdb", top, STANDARD, _digits(top, numbers, numbering))


def _digits(top: Path, numbers: list[str], numbering: str) -> dict[str, str]:
    """Which expression each numbered folder holds."""
    if not numbers:
        return {}
    if not numbering:
        raise ConfigError(
            f"rafdb: the class folders of {top} are numbered ({', '.join(numbers)}), and two numberings are in use",
            hint="numbering=standard (Surprise, Fear, Disgust, Happiness, Sadness, Anger, Neutral) or "
            "numbering=manet (Neutral, Happiness, Sadness, Surprise, Fear, Disgust, Anger)",
        )
    if numbering == "manet":
        return {str(number): name for number, name in enumerate(MANET)}
    if ("0" in numbers) == ("7" in numbers):
        raise DataError(
            f"rafdb: the class folders of {top} are {', '.join(numbers)}: do they count from 0 or from 1?",
            hint="seven folders, 0 to 6 or 1 to 7",
        )
    return {str(number): name for number, name in enumerate(STANDARD, start=0 if "0" in numbers else 1)}
