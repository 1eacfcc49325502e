"""Features of three classes for tests of heads."""

from __future__ import annotations

import numpy as np

from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, FoldRows

SIZES = {"train": 300, "dev": 120, "test": 90}


def made(seed: int = 0, spread: float = 1.4, missing: float = 0.1, skew: bool = False) -> tuple[FoldFeatures, FoldRows]:
    """Three overlapping clouds in two views; some views are missing, some frames have none."""
    rng = np.random.default_rng(seed)
    centres = {"face": rng.normal(size=(3, 4)), "eye": rng.normal(size=(3, 3))}
    parts, labels = {}, {}
    for name, size in SIZES.items():
        label = rng.choice(3, size=size, p=[0.6, 0.3, 0.1] if skew else None)
        views = {
            view: (centre[label] + spread * rng.normal(size=(size, centre.shape[1]))).astype(np.float32)
            for view, centre in centres.items()
        }
        present = {view: rng.random(size) >= missing for view in views}
        for view, values in views.items():
            values[~present[view]] = 0
        parts[name], labels[name] = FeaturesInMemory(views, present), label
    dev_label = labels["dev"].copy()
    dev_label[::9] = -1
    rows = FoldRows(
        train=np.arange(300),
        train_label=labels["train"],
        train_unit=np.array([f"u{n // 10}" for n in range(300)]),
        dev=np.arange(300, 420),
        dev_label=dev_label,
        test=np.arange(420, 510),
        clip=np.arange(510) // 10,
        number=np.arange(510) % 10 + 1,
    )
    zeros = {"face": np.zeros(4, np.float32), "eye": np.zeros(3, np.float32)}
    return FoldFeatures(parts["train"], parts["dev"], parts["test"], zeros, zeros), rows
