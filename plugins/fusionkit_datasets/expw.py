"""ExpW: 91,793 faces in photos from the web, several per photo."""

from __future__ import annotations

from typing import ClassVar

from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.stills import Box, FileImages, Listing, Still, Stills, root_folder, usable_box, wrong_root

LAYOUT = "label/label.lst with image/origin/*.jpg"
LIST = "label/label.lst"

# By the number in the list, 0 to 6.
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class ExpW(Stills):
    """ExpW with its seven expressions: faces cut out of photos by the boxes of its list. It has no official split.

    ``label/label.lst`` has one face per line: photo, number of the face, top, left, right and bottom in px, confidence
    of the detector, label. Faces of one photo are one unit, so they are in the same part of a split. A face with an
    inverted box, or one outside of the photo, is a frame without an image.

    Args:
        min_confidence: lowest confidence of the detector; other faces are left out and counted in ``dropped``.

    Raises:
        ConfigError: if the class map is invalid.
        DataError: if the list is missing or a line of it is not as above.

    Reference:
        Z. Zhang, P. Luo, C. C. Loy, X. Tang, From Facial Expression Recognition to Interpersonal Relation Prediction,
        International Journal of Computer Vision 126, 2018, arXiv:1609.06426.
    """

    revision: ClassVar[int] = 2  # a face without a usable box has no image

    def __init__(self, root: str, min_confidence: float = 0.0, class_map: ClassMapOption = None) -> None:
        mapped = ClassMap.of(CLASSES, class_map)
        top = root_folder("expw", root, LAYOUT)
        if not (top / LIST).is_file():
            raise wrong_root("expw", top, [LIST], LAYOUT)
        file, stills, names, boxes, unsure = AnnotationFile("expw", top / LIST), [], [], [], 0
        for line, words in file.words(least=8):
            name = " ".join(words[:-7])
            face = _face(words[-7:])
            if face is None:
                file.fault(line, f"expected seven numbers, the last 0 to 6, found {' '.join(words[-7:])!r}")
                continue
            box, confidence, label = face
            if confidence < min_confidence:
                unsure += 1
                continue
            stills.append(Still(f"{name}#{words[-7]}", label, line=line, source=file.name, video=name))
            names.append(f"image/origin/{name}")
            boxes.append(box)
        dropped = {f"face below confidence {min_confidence:g}": unsure} if unsure else {}
        super().__init__(Listing(stills, FileImages(top, names, boxes), file.digest(), dropped, file.faults), mapped)


def _face(words: list[str]) -> tuple[Box | None, float, int] | None:
    """Return box, confidence and class of a line without the name of the photo; None if it is invalid.

    The box is None if it is unusable.
    """
    try:
        _, top, left, right, bottom = (int(word) for word in words[:5])
        confidence, label = float(words[5]), int(words[6])
    except ValueError:
        return None
    return (usable_box(left, top, right, bottom), confidence, label) if label in range(len(CLASSES)) else None
