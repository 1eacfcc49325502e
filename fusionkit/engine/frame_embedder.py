"""Embeds frames that are in memory, with the values that stored embeddings would have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.embed import Embedding, ViewStream, add_batch
from fusionkit.engine.located import BATCH, locate
from fusionkit.engine.part import Arrays
from fusionkit.registry import EXTRACTORS
from fusionkit.views import FACE, regions_of

Boxes = list[dict[str, np.ndarray] | None]


@dataclass(frozen=True, eq=False)
class EmbeddedFrames:
    """What was made of n frames.

    Attributes:
        values: (n, D) or (n, K, D) float32 by key, rounded to float16; rows of NaN where a view is missing.
        boxes: of each frame by region, (5,) as an extractor gives them; nothing where no view is cut, None where there
            is no image.
    """

    values: Arrays
    boxes: Boxes


class FrameEmbedder:
    """Embeds frames batch by batch; the extractor and the backbones are built once.

    Args:
        wanted: embeddings through a backbone, which share one extractor.
        device: where backbones run.
        size: frames of a batch. As many as a benchmark takes give the very bits of stored embeddings, fewer an answer
            sooner.

    Raises:
        ConfigError: if a component cannot be built.
    """

    def __init__(self, wanted: Sequence[Embedding], device: str, size: int = BATCH) -> None:
        unique = list({item.key: item for item in wanted}.values())
        self.size = size
        self._views = [item.view for item in unique]
        cut = [item for item in unique if item.view != FACE]
        self._extractor: Extractor | None = EXTRACTORS.build(cut[0].extractor) if cut else None
        self._streams = [ViewStream(item, 0, device, size) for item in unique]

    @property
    def embedding_seconds(self) -> float:
        """What backbones took so far."""
        return sum(stream.embedding_seconds for stream in self._streams)

    @property
    def finds_faces(self) -> bool:
        """Whether views are cut by an extractor that looks for a face in the frame."""
        return self._extractor is not None and self._extractor.finds_faces

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that the views are cut from, in the extractor's order."""
        needed = regions_of(self._views)
        return tuple(region for region in self._extractor.regions if region in needed) if self._extractor else ()

    def __call__(self, frames: Sequence[np.ndarray | None]) -> EmbeddedFrames:
        """Embed frames.

        Args:
            frames: n, RGB uint8 (H, W, 3) each; None where there is no image.

        Raises:
            CellError: if a backbone gives a value that is not finite.
            PluginError: if a component fails or breaks its contract.
        """
        for stream in self._streams:
            stream.begin(len(frames))
        boxes: Boxes = [None] * len(frames)
        for start in range(0, len(frames), self.size):
            batch = locate(self._extractor, frames[start : start + self.size])
            add_batch(self._streams, start, batch)
            for place, found in zip(batch.places, batch.boxes, strict=True):
                boxes[start + place] = found
        values = {
            stream.embedding.key: stream.finished(lambda place: f"frame {place}").astype(np.float32)
            for stream in self._streams
        }
        return EmbeddedFrames(values, boxes)
