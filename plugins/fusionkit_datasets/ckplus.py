"""CK+: posed expressions on video, from the neutral face to the peak."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from fusionkit.contracts import UNLABELLED
from fusionkit.contracts.image_file import ENDINGS
from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.image_files import ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.still import Still
from fusionkit_datasets.stills import ClassMapOption, Stills, root_folder

LAYOUT = "cohn-kanade-images/S005/001/*.png with Emotion/S005/001/*_emotion.txt"
IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images", "extended-cohn-kanade-images")
LABELS = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")

# By the number in the label files, 0 to 7.
EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NEUTRAL = 0


class CkPlus(Stills):
    """CK+ with its seven emotions and neutral; a sequence is a clip, a person a unit. There is no official split.

    The last frames of a labelled sequence show the emotion, the first is neutral, those between are unlabelled. Most
    sequences have no label file; they are passed over and counted in ``dropped``.

    Args:
        root: the folder that holds ``cohn-kanade-images`` and ``Emotion``; ``~`` is the home folder.
        peak: how many of the last frames bear the label, 1 or more; all but the first in a shorter sequence.
        neutral: label the first frame neutral; otherwise it is unlabelled, and there is no class neutral.
        between: keep the unlabelled frames, which smoothers see; otherwise they are left out.
        class_map: classes renamed, merged or left out: ``{contempt:null}``; ``abaw`` for the names of the ABAW
            challenge, contempt becoming Other.

    Raises:
        ConfigError: if ``peak`` is below 1 or the class map is refused.
        DataError: if a folder is missing, or a label file does not hold one number from 0 to 7.

    Reference:
        P. Lucey et al., The Extended Cohn-Kanade Dataset (CK+), CVPR Workshops 2010. Three peak frames and the first
        one as neutral are the usual choice with it.
    """

    own: ClassVar[tuple[str, ...]] = EMOTIONS
    abaw: ClassVar[dict[str, str | None]] = {
        "neutral": "Neutral",
        "anger": "Anger",
        "contempt": "Other",
        "disgust": "Disgust",
        "fear": "Fear",
        "happy": "Happiness",
        "sadness": "Sadness",
        "surprise": "Surprise",
    }

    def __init__(
        self,
        root: str,
        peak: int = 3,
        neutral: bool = True,
        between: bool = True,
        class_map: ClassMapOption = None,
    ) -> None:
        if peak < 1:
            raise ConfigError(f"ckplus: peak = {peak} must be 1 or more")
        own = EMOTIONS if neutral else EMOTIONS[1:]
        mapped = ClassMap.of(own, class_map, {name: self.abaw[name] for name in own})
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
    for subject, sequence, folder in _sequences(images):
        path = _label_file(labels / subject / sequence)
        if path is None:
            unlabelled += 1
            continue
        data = path.read_bytes()
        state.update(f"{subject}/{sequence}".encode(errors="surrogateescape") + data)
        emotion = _emotion(data)
        if emotion is None:
            faults.append(f"{path}:1: {data[:40]!r} is not one number from 0 to 7")
            continue
        if emotion == NEUTRAL and not neutral:
            unlabelled += 1
            continue
        frames = _frames(folder, path)
        coded = _coded(len(frames), emotion, peak, neutral)
        for (number, name), code in zip(frames, coded, strict=True):
            if between or code != UNLABELLED:
                clip = f"{subject}/{sequence}"
                stills.append(Still(clip, code, source=str(path), number=number, subject=subject))
                names.append(f"{images.relative_to(top).as_posix()}/{clip}/{name}")
    dropped = {"sequence without a label": unlabelled} if unlabelled else {}
    return Listing(stills, ImageFiles(top, names), state.hexdigest(), dropped, faults)


def _coded(frames: int, emotion: int, peak: int, neutral: bool) -> list[int]:
    """Class number of each frame of a sequence; -1 between the first and the peak."""
    codes = [UNLABELLED] * frames
    shown = min(peak, frames - 1 if frames > 1 else 1)
    codes[frames - shown :] = [emotion if neutral else emotion - 1] * shown
    if neutral and frames > 1:
        codes[0] = NEUTRAL
    return codes


def _sequences(images: Path) -> Iterator[tuple[str, str, Path]]:
    """Subject, sequence and folder, in order of name."""
    for subject in _folders(images):
        for sequence in _folders(subject):
            yield subject.name, sequence.name, sequence


def _frames(folder: Path, label: Path) -> list[tuple[int, str]]:
    """Number and name of each image, and of the peak that the label file is named after, there or not; rising."""
    names = {path.name for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != "."}
    numbers: dict[int, str] = {}
    for name in sorted(names):
        number = _number(name.rpartition(".")[0])
        if number is None:
            raise DataError(f"ckplus: {folder / name} has no frame number at its end")
        if number in numbers:
            raise DataError(f"ckplus: {folder / name} and {numbers[number]} are the same frame")
        numbers[number] = name
    stem = label.name.removesuffix("_emotion.txt")
    if re.fullmatch(f"{re.escape(f'{folder.parent.name}_{folder.name}')}_[0-9]{{1,18}}", stem):
        numbers.setdefault(int(stem.rpartition("_")[2]), f"{stem}.png")
    return sorted(numbers.items())


def _number(stem: str) -> int | None:
    found = re.search(r"_([0-9]{1,18})$", stem)
    return int(found[1]) if found else None


def _label_file(folder: Path) -> Path | None:
    """The label file of a sequence, if it has one."""
    paths = sorted(path for path in folder.glob("*_emotion.txt") if not path.name.startswith("."))
    if len(paths) > 1:
        raise DataError(f"ckplus: {folder} has {len(paths)} label files, not one")
    return paths[0] if paths else None


def _emotion(data: bytes) -> int | None:
    """The number in a label file; None if there is none from 0 to 7."""
    try:
        value = float(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None
    return int(value) if value in range(len(EMOTIONS)) else None


def _folder(top: Path, names: tuple[str, ...]) -> Path:
    found = next((top / name for name in names if (top / name).is_dir()), None)
    if found is None:
        raise DataError(f"ckplus: {top} has no folder {names[0]}", hint=LAYOUT)
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
