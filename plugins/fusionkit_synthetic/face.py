"""Drawing of one person's face with one set of facial actions, for a still camera in even light."""

from __future__ import annotations

import cv2
import numpy as np

from fusionkit_synthetic.action import LEFT, RIGHT, Pose, sides
from fusionkit_synthetic.canvas import SIDE, fill
from fusionkit_synthetic.eye import brow_line, draw_brow, draw_eye, eye_shape
from fusionkit_synthetic.glasses import draw_glasses
from fusionkit_synthetic.hair import beard_mask, beard_texture, draw_hair_behind, hair_layer
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.mouth import draw_mouth, jaw_drop, mouth_shape
from fusionkit_synthetic.nose import draw_nose, nose_shape
from fusionkit_synthetic.skin import back_layer, outline, skin_layer
from fusionkit_synthetic.wrinkle import NEUTRAL, folds

# distance (px) of each part from the plane of the outline, which scales its shift by yaw and pitch
FLAT, EYES, MOUTH, NOSE = -1.6, 0.4, 1.0, 2.6


class Face:
    """The face of one person; layers that are the same in every frame are drawn once."""

    def __init__(self, person: Identity) -> None:
        self.person = person
        room, hair, skin, beard = (np.random.Generator(np.random.PCG64([person.texture, layer])) for layer in range(4))
        self._back = back_layer(person, room)
        draw_hair_behind(self._back, person, hair)
        self._skin = skin_layer(person, skin)
        self._hair, self._hair_mask = hair_layer(person, hair)
        self._beard = beard_texture(person, beard) if person.beard != "none" else None

    def draw(self, intensity: np.ndarray, pose: Pose) -> np.ndarray:
        """Draw one frame.

        Args:
            intensity: (2, A) intensities of the facial actions on the image's left and right, 0..1.
            pose: direction of head and eyes; the camera applies its in-plane part.

        Returns:
            (SIDE, SIDE, 3) uint8 RGB, on the canvas.
        """
        person, au = self.person, sides(intensity)
        drop = jaw_drop(au)
        cheeks = max(au[LEFT][12], au[RIGHT][12])
        contour = outline(person, drop, cheeks, pose.near(FLAT))
        eyes = (
            eye_shape(person, -1, au[LEFT], pose.gaze, pose.near(EYES)),
            eye_shape(person, 1, au[RIGHT], pose.gaze, pose.near(EYES)),
        )
        nose = nose_shape(person, au, pose.near(NOSE))
        mouth = mouth_shape(person, au, pose.near(MOUTH))
        gain = folds(person, au, eyes, nose, mouth)
        skin = cv2.multiply(self._skin, cv2.merge((gain, gain, gain)), scale=1 / NEUTRAL)
        if self._beard is not None:
            skin = self._bearded(skin, beard_mask(person, contour, mouth, drop))
        draw_nose(skin, person, nose)
        draw_mouth(skin, person, mouth)
        for eye in eyes:
            draw_eye(skin, person, eye)
        for row, side in ((LEFT, -1), (RIGHT, 1)):
            draw_brow(skin, person, brow_line(person, side, au[row]), pose.near(EYES))
        return self._assemble(skin, contour, pose)

    def _bearded(self, skin: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert self._beard is not None
        low = slice(SIDE // 2, None)  # the upper half has no beard
        soft = cv2.blur(mask[low], (9, 9))
        if self.person.beard == "stubble":
            soft = cv2.convertScaleAbs(soft, alpha=0.42)
        weight = cv2.merge((soft, soft, soft))
        over = cv2.multiply(self._beard[low], weight, scale=1 / 255)
        under = cv2.multiply(skin[low], cv2.bitwise_not(weight), scale=1 / 255)
        skin[low] = cv2.add(over, under)
        return skin

    def _assemble(self, skin: np.ndarray, contour: np.ndarray, pose: Pose) -> np.ndarray:
        image = self._back.copy()
        mask = np.zeros((SIDE, SIDE), np.uint8)
        fill(mask, contour, 255)
        cv2.copyTo(skin, mask, image)
        cv2.copyTo(self._hair, self._hair_mask, image)
        if self.person.glasses != "none":
            draw_glasses(image, self.person, pose.near(EYES))
        return image
