"""Draws one person's face with one set of facial actions, as seen by a still camera in even light."""

from __future__ import annotations

import cv2
import numpy as np

from fusionkit_synthetic.action import LEFT, RIGHT, Pose, sides
from fusionkit_synthetic.beard import beard_mask, beard_texture
from fusionkit_synthetic.brow import brow_line, draw_brow
from fusionkit_synthetic.canvas import SIDE, fill
from fusionkit_synthetic.eye import draw_eye, eye_shape
from fusionkit_synthetic.glasses import draw_glasses
from fusionkit_synthetic.hair import draw_hair_behind, hair_layer
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.mouth import draw_mouth, jaw_drop, mouth_shape
from fusionkit_synthetic.nose import draw_nose, nose_shape
from fusionkit_synthetic.skin import back_layer, outline, skin_layer
from fusionkit_synthetic.wrinkle import NEUTRAL, folds

# how far (px) each part stands out of the plane of the face's outline: what yaw and pitch move it by
FLAT, EYES, MOUTH, NOSE = -1.6, 0.4, 1.0, 2.6


class Face:
    """One person, ready to be drawn: what no frame changes is drawn once."""

    def __init__(self, who: Identity) -> None:
        self.who = who
        room, hair, skin, beard = (np.random.Generator(np.random.PCG64([who.texture, layer])) for layer in range(4))
        self._back = back_layer(who, room)
        draw_hair_behind(self._back, who, hair)
        self._skin = skin_layer(who, skin)
        self._hair, self._hair_mask = hair_layer(who, hair)
        self._beard = beard_texture(who, beard) if who.beard != "none" else None

    def draw(self, intensity: np.ndarray, pose: Pose) -> np.ndarray:
        """Draw one frame.

        Args:
            intensity: (2, A) of the facial actions on the image's left and right, 0..1.
            pose: where head and eyes are turned; its in-plane part is left to the camera.

        Returns:
            (SIDE, SIDE, 3) uint8 RGB, on the canvas.
        """
        who, au = self.who, sides(intensity)
        drop = jaw_drop(au)
        cheeks = max(au[LEFT][12], au[RIGHT][12])
        contour = outline(who, drop, cheeks, pose.near(FLAT))
        eyes = (
            eye_shape(who, -1, au[LEFT], pose.gaze, pose.near(EYES)),
            eye_shape(who, 1, au[RIGHT], pose.gaze, pose.near(EYES)),
        )
        nose = nose_shape(who, au, pose.near(NOSE))
        mouth = mouth_shape(who, au, pose.near(MOUTH))
        gain = folds(who, au, eyes, nose, mouth)
        skin = cv2.multiply(self._skin, cv2.merge((gain, gain, gain)), scale=1 / NEUTRAL)
        if self._beard is not None:
            skin = self._bearded(skin, beard_mask(who, contour, mouth, drop))
        draw_nose(skin, who, nose)
        draw_mouth(skin, who, mouth)
        for eye in eyes:
            draw_eye(skin, who, eye)
        for row, side in ((LEFT, -1), (RIGHT, 1)):
            draw_brow(skin, who, brow_line(who, side, au[row]), pose.near(EYES))
        return self._assemble(skin, contour, pose)

    def _bearded(self, skin: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert self._beard is not None
        low = slice(SIDE // 2, None)  # no beard grows above the ears
        soft = cv2.blur(mask[low], (9, 9))
        if self.who.beard == "stubble":
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
        if self.who.glasses != "none":
            draw_glasses(image, self.who, pose.near(EYES))
        return image
