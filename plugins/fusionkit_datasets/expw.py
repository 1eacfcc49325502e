"""ExpW: 91,793 faces in photos from the web, several to a photo."""

from __future__ import annotations

from typing import ClassVar

from fusionkit.errors import DataError
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.image_files import Box, ImageFiles
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.still import Still
from fusionkit_datasets.stills import ClassMapOption, Stills, root_folder

LAYOUT = "label/label.lst with image/origin/*.jpg"
LIST = "label/label.lst"

# By the number in the list, 0 to 6.
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class ExpW(Stills):
    """ExpW with its seven expressions: faces cut out of photos by the boxes of the list. There is no official split.

    ``label/label.lst`` has a face a line: photo, number of the face, top, left, right and bottom in px, confidence of
    the detector, label. Faces of one photo are one unit: they are never in two parts of a split.

    Args:
        root: the folder; ``~`` is the home folder.
        min_confidence: leave out faces that the detector was less sure of; they are counted in ``dropped``.
        class_map: classes renamed, merged or left out: ``{disgust:angry}``; ``abaw`` for the names of the ABAW
            challenge.

    Raises:
        ConfigError: if the class map is refused.
        DataError: if the list is missing or a line of it is not as above.

    Reference:
        Z. Zhang, P. Luo, C. C. Loy, X. Tang, From Facial Expression Recognition to Interpersonal Relation Prediction,
        International Journal of Computer Vision 126, 2018, arXiv:1609.06426.
    """

    own: ClassVar[tuple[str, ...]] = EXPRESSIONS
    abaw: ClassVar[dict[str, str | None]] = {
        "angry": "Anger",
        "disgust": "Disgust",
        "fear": "Fear",
        "happy": "Happiness",
        "sad": "Sadness",
        "surprise": "Surprise",
        "neutral": "Neutral",
    }

    def __init__(self, root: str, min_confidence: float = 0.0, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(self.own, class_map, self.abaw)
        top = root_folder("expw", root, LAYOUT)
        if not (top / LIST).is_file():
            raise DataError(f"expw: {top} has no {LIST}", hint=LAYOUT)
        file, stills, names, boxes, unsure = AnnotationFile("expw", top / LIST), [], [], [], 0
        for line, words in file.words(least=8):
            name = " ".join(words[:-7])
            face = _face(words[-7:])
            if face is None:
                file.fault(line, f"{' '.join(words[-7:])!r} is not seven numbers, the last from 0 to 6")
                continue
            box, confidence, label = face
            if confidence < min_confidence:
                unsure += 1
                continue
            stills.append(Still(f"{name}#{words[-7]}", label, line=line, source=file.name, video=name))
            names.append(f"image/origin/{name}")
            boxes.append(box)
        dropped = {f"face below confidence {min_confidence:g}": unsure} if unsure else {}
        super().__init__(Listing(stills, ImageFiles(top, names, boxes), file.digest(), dropped, file.faults), mapped)

    def where(self, row: int) -> str:
        """The photo, and the line of the list: a photo may have several faces."""
        return f"{super().where(row)} ({self._listing.stills[row].origin})"


def _face(words: list[str]) -> tuple[Box, float, int] | None:
    """Box, confidence and class of a line, without the photo's name."""
    try:
        _, top, left, right, bottom = (int(word) for word in words[:5])
        confidence, label = float(words[5]), int(words[6])
    except ValueError:
        return None
    return ((left, top, right, bottom), confidence, label) if label in range(len(EXPRESSIONS)) else None
