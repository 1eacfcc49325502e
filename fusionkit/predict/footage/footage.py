"""What was seen in one recording: its frames, the faces in them, and what each head of a cell makes of each face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fusionkit.media.recording import Recording
from fusionkit.media.sighting import Sighting
from fusionkit.media.video import MediaFrame
from fusionkit.predict.footage.column import Column


@dataclass(frozen=True, eq=False)
class FaceRow:
    """A face in a frame, without its picture.

    Attributes:
        frame: place of the frame in the recording, from 0.
        track: which face.
        box: (4,) in px of the frame.
        to_frame: (2, 3) from pixels of the crop to those of the frame.
    """

    frame: int
    track: int
    box: np.ndarray
    to_frame: np.ndarray

    @classmethod
    def of(cls, frame: int, sighting: Sighting) -> FaceRow:
        """Of what was seen in a frame."""
        return cls(frame, sighting.track, sighting.box, sighting.to_frame)


@dataclass(eq=False)
class Footage:
    """The log of one recording; some hundred bytes a face, whatever the size of frames and embeddings.

    Attributes:
        recording: what was read.
        regions: R names of the regions that views are cut from.
        numbers: (n,) of the frames.
        seconds: (n,) when they are shown, NaN where nobody says.
        frame, track, box, to_frame: of m faces, as :class:`FaceRow` says.
        answers: of each head, (m, C) or (m, D) evidence.
        fault: why it could not be read to its end; empty where it could.
    """

    recording: Recording
    regions: tuple[str, ...]
    fault: str = ""
    numbers: Column = field(default_factory=lambda: Column(np.int64))
    seconds: Column = field(default_factory=lambda: Column(np.float64))
    frame: Column = field(default_factory=lambda: Column(np.int64))
    track: Column = field(default_factory=lambda: Column(np.int64))
    box: Column = field(default_factory=lambda: Column(np.float32, (4,)))
    to_frame: Column = field(default_factory=lambda: Column(np.float64, (2, 3)))
    answers: list[Column] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def boxes(self) -> np.ndarray:
        """(m, R, 5) of the regions in the crop, NaN where not found."""
        return self._boxes.values if self.regions else np.empty((len(self.frame), 0, 5), np.float32)

    @cached_property
    def _boxes(self) -> Column:
        return Column(np.float32, (len(self.regions), 5))

    def number(self, place: int) -> int:
        """The number of a frame."""
        return int(self.numbers[place])

    def read(self, frame: MediaFrame) -> int:
        """Another frame; its place."""
        self.numbers.add(frame.number)
        self.seconds.add(frame.seconds)
        return len(self.numbers) - 1

    def answered(self, face: FaceRow, boxes: dict[str, np.ndarray], answers: Sequence[np.ndarray]) -> None:
        """A face, with the boxes of its regions in the crop and what each head makes of it."""
        self.frame.add(face.frame)
        self.track.add(face.track)
        self.box.add(face.box)
        self.to_frame.add(face.to_frame)
        if self.regions:
            self._boxes.add([boxes[region] for region in self.regions])
        if not self.answers:
            self.answers += [Column(np.float32, answer.shape) for answer in answers]
        for column, answer in zip(self.answers, answers, strict=True):
            column.add(answer)
