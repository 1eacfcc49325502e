"""CK+: posed expressions on video, from the neutral face to the peak."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from fusionkit.contracts import UNLABELLED, Count
from fusionkit.contracts.image_file import ENDINGS
from fusionkit.contracts.regular_file import read_file
from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.stills import FileImages, Listing, Still, Stills, folders_in, root_folder, wrong_root

LAYOUT = "cohn-kanade-images/S005/001/*.png with Emotion/S005/001/*_emotion.txt"
IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images", "extended-cohn-kanade-images")
LABELS = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")

# By the number in the label files, 0 to 7.
CLASSES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NEUTRAL = 0


class CkPlus(Stills):
    """CK+ with its seven emotions and neutral; a sequence is a clip, a person a unit. It has no official split.

    The last frames of a labelled sequence show the emotion, the first is neutral, those between are unlabelled. Most
    sequences have no label file; they are left out and counted in ``dropped``.

    Args:
        root: the folder with ``cohn-kanade-images`` and ``Emotion``; ``~`` is the home folder.
        peak: number of last frames that get the label; at most all but the first.
        neutral: label the first frame neutral. If false, it is unlabelled, and there is no class neutral.
        between: keep the unlabelled frames, which smoothers use. If false, they are left out.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if a folder is missing, or a label file does not have one number from 0 to 7.

    Reference:
        P. Lucey et al., The Extended Cohn-Kanade Dataset (CK+), CVPR Workshops 2010. Three peak frames and the first
        one as neutral are the usual choice with it.
    """

    def __init__(
        self,
        root: str,
        peak: Count = 3,
        neutral: bool = True,
        between: bool = True,
        class_map: ClassMapOption = None,
    ) -> None:
        mapped = ClassMap.of(CLASSES if neutral else CLASSES[1:], class_map)
        top = root_folder("ckplus", root, LAYOUT)
        try:
            listing = _listing(top, peak, neutral, between)
        except OSError as error:
            raise DataError(f"ckplus: cannot read {error.filename}: {error.strerror}") from error
        super().__init__(listing, mapped)


def _listing(top: Path, peak: int, neutral: bool, between: bool) -> Listing:
    images, labels = _folder(top, IMAGES), _folder(top, LABELS)
    stills: list[Still] = []
    names: list[str] = []
    faults: list[str] = []
    state, unlabelled = hashlib.sha256(), 0
    for folder in (sequence for subject in folders_in(images) for sequence in folders_in(subject)):
        subject, clip = folder.parent.name, f"{folder.parent.name}/{folder.name}"
        path = _label_file(labels / clip)
        if path is None:
            unlabelled += 1
            continue
        data = read_file(path)
        state.update(clip.encode(errors="surrogateescape") + data)
        emotion = _emotion(data)
        if emotion is None:
            faults.append(f"{path}:1: expected one number from 0 to 7, found {data[:40]!r}")
            continue
        if emotion == NEUTRAL and not neutral:
            unlabelled += 1
            continue
        frames = _frames(folder, path)
        codes = _codes(len(frames), emotion, peak, neutral)
        for (number, name), code in zip(frames, codes, strict=True):
            if between or code != UNLABELLED:
                stills.append(Still(clip, code, source=str(path), number=number, subject=subject))
                names.append(f"{images.relative_to(top).as_posix()}/{clip}/{name}")
    dropped = {"sequence without a label": unlabelled} if unlabelled else {}
    return Listing(stills, FileImages(top, names), state.hexdigest(), dropped, faults)


def _codes(frames: int, emotion: int, peak: int, neutral: bool) -> list[int]:
    """Return the class number of each frame of a sequence; -1 between the first frame and the peak."""
    codes = [UNLABELLED] * frames
    shown = min(peak, frames - 1 if frames > 1 else 1)
    codes[frames - shown :] = [emotion if neutral else emotion - 1] * shown
    if neutral and frames > 1:
        codes[0] = NEUTRAL
    return codes


def _frames(folder: Path, label: Path) -> list[tuple[int, str]]:
    """Return number and name of each image, and of the peak in the name of the label file even if it is missing."""
    names = {path.name for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != "."}
    numbers: dict[int, str] = {}
    for name in sorted(names):
        found = re.search(r"_([0-9]{1,18})$", name.rpartition(".")[0])
        if found is None:
            raise DataError(f"ckplus: the name of {folder / name} must end in a frame number")
        if int(found[1]) in numbers:
            raise DataError(f"ckplus: {folder / name} and {numbers[int(found[1])]} are the same frame")
        numbers[int(found[1])] = name
    stem = label.name.removesuffix("_emotion.txt")
    if re.fullmatch(f"{re.escape(f'{folder.parent.name}_{folder.name}')}_[0-9]{{1,18}}", stem):
        numbers.setdefault(int(stem.rpartition("_")[2]), f"{stem}.png")
    return sorted(numbers.items())


def _label_file(folder: Path) -> Path | None:
    """Return the label file of a sequence, if it has one."""
    paths = sorted(path for path in folder.glob("*_emotion.txt") if not path.name.startswith("."))
    if len(paths) > 1:
        raise DataError(f"ckplus: expected one label file in {folder}, found {len(paths)}")
    return paths[0] if paths else None


def _emotion(data: bytes) -> int | None:
    """Return the number in a label file; None if it is not a number from 0 to 7."""
    try:
        value = float(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None
    return int(value) if value in range(len(CLASSES)) else None


def _folder(top: Path, names: tuple[str, ...]) -> Path:
    found = next((top / name for name in names if (top / name).is_dir()), None)
    if found is None:
        raise wrong_root("ckplus", top, names, LAYOUT, _class_folders_spec(top))
    return found


def _class_folders_spec(top: Path) -> str:
    """Return the SPEC that reads CK+48, ``<class>/S010_004_00000017.png``; empty for another layout."""
    names = (path.name for folder in folders_in(top) for path in folder.iterdir())
    if not re.fullmatch(r"S[0-9]+_[0-9]+_[0-9]+\.[a-z]+", next(names, "")):
        return ""
    return str(Spec("folder", {"root": str(top), "subject": "S[0-9]+", "clip": "S[0-9]+_[0-9]+"}))
