"""Where the parts of an aligned face are, as plain data: x0, y0, x1, y1 in fractions of its width and height."""

from __future__ import annotations

from typing import Final

Box = tuple[float, float, float, float]

LAYOUTS: Final[dict[str, dict[str, Box]]] = {
    # Eye and mouth are the authors' (released code of arXiv 2403.13039). The paper's nose box is not known: ours fills
    # the height between the two. The paper has no brow box: ours is where brows are in a face aligned to the ArcFace
    # template, which is in part the authors' eye box, for that holds the brows too.
    "emotic": {
        "eye": (0.20, 0.35, 0.80, 0.55),
        "brow": (0.20, 0.29, 0.80, 0.42),
        "nose": (0.30, 0.55, 0.70, 0.70),
        "mouth": (0.20, 0.70, 0.80, 0.90),
    },
    # Faces aligned to the 112 px ArcFace template. Its landmarks as fractions of 112 px: eyes (.342, .462) and
    # (.657, .460), nose tip (.500, .641), mouth corners (.371, .825) and (.632, .823). The boxes are ours. Those of the
    # eyes and of the mouth are centred on their landmarks and reach past them by half the distance between the eyes and
    # by .3 of the mouth's width. Brows lie about .3 of the distance between the eyes above them; their box leaves room
    # to raise and to knit them, and so shares a little with the eyes' box. The nose reaches from just below the eyes'
    # line to the upper lip.
    "arcface": {
        "eye": (0.19, 0.40, 0.81, 0.52),
        "brow": (0.19, 0.29, 0.81, 0.42),
        "nose": (0.36, 0.48, 0.64, 0.72),
        "mouth": (0.29, 0.72, 0.71, 0.93),
    },
}
