"""Logits of a network for every frame that has a view, with the frames shared out among processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.errors import CellError
from fusionkit.training.view_samples import ViewSamples
from fusionkit.training.view_transform import ViewTransform

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from fusionkit.training.classifier import Classifier

BATCH = 64
_AHEAD = 2  # batches that are read ahead

_Shown = tuple[tuple["Tensor", ...], bool] | None  # the views of a frame, and whether all are there


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network says.

    Attributes:
        logits: (n, C) float32; rows of NaN for frames without any view.
        whole: (n,) bool: the frames that have every view.
    """

    logits: np.ndarray
    whole: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: the frames that have a view."""
        there: np.ndarray = ~np.isnan(self.logits[:, 0])
        return there


def predict(
    classifier: Classifier, samples: ViewSamples, transform: ViewTransform, accelerator: Accelerator, workers: int
) -> Predictions:
    """Logits of all samples, the same in every process.

    Raises:
        CellError: if a logit is not finite.
    """
    from accelerate.utils import broadcast, gather_object

    classifier.eval()
    for buffer in classifier.buffers():  # each process has counted its own batches in the norms
        broadcast(buffer)
    share = np.arange(accelerator.process_index, len(samples), accelerator.num_processes)
    classes = classifier.network.head.out_features
    found = np.full((len(samples), classes), np.nan, np.float32)
    whole = np.zeros(len(samples), dtype=bool)
    own = [
        (rows, *_batch(classifier, shown, accelerator, classes))
        for rows, shown in _read(samples, transform, share, workers)
    ]
    for rows, logits, complete in gather_object(own):
        found[rows], whole[rows] = logits, complete
    return Predictions(found, whole)


def _read(
    samples: ViewSamples, transform: ViewTransform, rows: np.ndarray, workers: int
) -> Iterator[tuple[np.ndarray, list[_Shown]]]:
    """Batches of rows with what is shown of each."""

    def shown(row: int) -> _Shown:
        sample = samples.read(row)
        return None if sample is None else (transform.plain(sample), sample.whole)

    waiting: deque[tuple[np.ndarray, list[Future[_Shown]]]] = deque()
    with ThreadPoolExecutor(workers, "fusionkit-images") as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            waiting.append((batch, [pool.submit(shown, row) for row in batch.tolist()]))
            if len(waiting) > _AHEAD:
                first, futures = waiting.popleft()
                yield first, [future.result() for future in futures]
        for first, futures in waiting:
            yield first, [future.result() for future in futures]


def _batch(
    classifier: Classifier, shown: list[_Shown], accelerator: Accelerator, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and which frames are whole. Always a whole batch: no row depends on how many came with it."""
    import torch

    logits = np.full((len(shown), classes), np.nan, np.float32)
    there = [place for place, item in enumerate(shown) if item is not None]
    if there:
        views = list(zip(*(item[0] for item in shown if item is not None), strict=True))
        padded = [torch.stack([*view, *[torch.zeros_like(view[0])] * (BATCH - len(view))]) for view in views]
        with torch.inference_mode(), accelerator.autocast():
            values = classifier.logits([view.to(accelerator.device) for view in padded])
        logits[there] = values[: len(there)].float().cpu().numpy()
        if not np.isfinite(logits[there]).all():
            raise CellError("a logit is not finite", hint="a lower learning rate, or more warm-up")
    return logits, np.array([item is not None and item[1] for item in shown])
