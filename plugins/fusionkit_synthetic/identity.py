"""Appearance of a synthetic person, the same in every frame of a subject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.canvas import Colour, mix, tone

SKINS: tuple[Colour, ...] = (
    (242, 208, 188),
    (234, 192, 164),
    (222, 176, 140),
    (198, 147, 108),
    (160, 110, 76),
    (118, 79, 56),
    (86, 58, 44),
)
HAIRS: dict[str, Colour] = {
    "black": (30, 26, 28),
    "dark": (56, 40, 32),
    "brown": (96, 64, 42),
    "auburn": (124, 58, 34),
    "blond": (198, 162, 108),
    "red": (156, 78, 42),
    "grey": (150, 148, 146),
    "white": (214, 212, 208),
}
IRISES: tuple[Colour, ...] = ((62, 40, 26), (92, 58, 32), (118, 92, 52), (84, 112, 76), (84, 122, 156), (112, 124, 132))
FEMININE_STYLES = ("long", "side-part", "fringe", "curly", "tied", "headscarf", "bob", "long")
MASCULINE_STYLES = ("short", "side-part", "buzz", "bald", "curly", "receding", "beanie", "short")
BEARDS = ("none", "stubble", "full", "moustache", "goatee")


@dataclass(frozen=True)
class Identity:
    """One person. Lengths are px of the 112 px face; other values are in 0..1 or -1..1."""

    skin: Colour
    age: float
    blush: float
    freckles: float
    forehead: float
    cheek: float
    jaw: float
    chin_width: float
    chin: float
    eye_gap: float
    eye_width: float
    eye_open: float
    eye_tilt: float
    crease: float
    lashes: float
    bags: float
    iris: Colour
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    mouth_rest: float
    lips: Colour
    hair: Colour
    hair_style: str
    beard: str
    glasses: str
    glasses_colour: Colour
    cloth: Colour
    backdrop: Colour
    expressivity: float
    texture: int

    @property
    def brow_colour(self) -> Colour:
        """Colour of the brows: mostly that of the hair with some of the skin, and never quite white."""
        return mix(tone(self.hair, 0.75), self.skin, 0.16)


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw one person; correlated features (tone and hair, age and grey) are correlated here too."""
    feminine = bool(rng.random() < 0.5)
    age = float(rng.beta(1.3, 1.8))
    depth = float(rng.random())
    skin = _skin(depth, rng)
    hair = _hair(depth, age, rng)
    return Identity(
        skin=skin,
        age=age,
        blush=_between(rng, 0.2, 1.0) * (1.0 - 0.6 * depth),
        freckles=float(rng.random() < 0.25) * (1.0 - depth),
        forehead=_between(rng, 36.0, 41.0),
        cheek=_between(rng, 39.0, 44.5),
        jaw=_between(rng, 29.0, 36.0) + (0.0 if feminine else 2.5),
        chin_width=_between(rng, 9.0, 14.0) + (0.0 if feminine else 3.0),
        chin=_between(rng, 107.5, 115.0),
        eye_gap=_between(rng, -0.9, 0.9),
        eye_width=_between(rng, 7.7, 9.2),
        eye_open=_between(rng, 0.82, 1.18),
        eye_tilt=_between(rng, -0.4, 1.3),
        crease=_between(rng, 0.0, 1.0),
        lashes=_between(rng, 0.5, 1.0) if feminine else _between(rng, 0.0, 0.35),
        bags=_between(rng, 0.0, 0.5) + 0.5 * age,
        iris=IRISES[int(rng.integers(0, 2 if depth > 0.55 else len(IRISES)))],
        brow_height=_between(rng, 9.0, 11.6),
        brow_thickness=_between(rng, 1.0, 1.7) if feminine else _between(rng, 1.5, 2.6),
        brow_arch=_between(rng, 0.4, 1.5),
        brow_tilt=_between(rng, -0.8, 0.8),
        nose_width=_between(rng, 6.4, 8.6) + 1.0 * depth,
        nose_length=_between(rng, -1.2, 1.2),
        mouth_width=_between(rng, 12.8, 15.6),
        upper_lip=_between(rng, 1.7, 3.1) + 0.8 * depth,
        lower_lip=_between(rng, 2.7, 4.2) + 0.6 * depth,
        mouth_rest=_between(rng, -1.1, 0.7),
        lips=_lips(skin, feminine, rng),
        hair=hair,
        hair_style=_pick(rng, FEMININE_STYLES if feminine else MASCULINE_STYLES),
        beard="none" if feminine else _pick(rng, BEARDS),
        glasses=_pick(rng, ("none", "none", "none", "none", "round", "square")),
        glasses_colour=(_grey(rng), (112, 66, 34), (150, 38, 44), (44, 60, 110))[int(rng.integers(4))],
        cloth=_cloth(rng),
        backdrop=_cloth(rng),
        expressivity=_between(rng, 0.85, 1.15),
        texture=int(rng.integers(2**31)),
    )


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _pick(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]


def _grey(rng: np.random.Generator) -> Colour:
    level = int(rng.integers(22, 60))
    return level, level, level


def _skin(depth: float, rng: np.random.Generator) -> Colour:
    position = depth * (len(SKINS) - 1)
    low = min(int(position), len(SKINS) - 2)
    r, g, b = mix(SKINS[low], SKINS[low + 1], position - low)
    warm = int(rng.integers(-6, 7))
    return min(255, r + warm // 2), g, max(0, b - warm)


def _hair(depth: float, age: float, rng: np.random.Generator) -> Colour:
    if age > 0.62 and rng.random() < 0.75:
        return HAIRS["white" if age > 0.8 else "grey"]
    names = ("black", "dark") if depth > 0.5 else ("black", "dark", "brown", "auburn", "blond", "red", "brown", "blond")
    return tone(HAIRS[_pick(rng, names)], _between(rng, 0.85, 1.15))


def _lips(skin: Colour, feminine: bool, rng: np.random.Generator) -> Colour:
    natural = mix(skin, (158, 58, 62), 0.42)
    if feminine and rng.random() < 0.5:
        return mix(natural, ((176, 26, 48), (196, 72, 92), (130, 34, 60))[int(rng.integers(3))], 0.6)
    return natural


def _cloth(rng: np.random.Generator) -> Colour:
    base = int(rng.integers(50, 190))
    r, g, b = (int(min(225, max(25, base + value))) for value in rng.integers(-32, 33, size=3))
    return r, g, b
