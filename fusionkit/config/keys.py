"""Keys of the configs with their defaults, by the command that reads them."""

from __future__ import annotations

from typing import Any

DEFAULT_SMOOTHERS = ("none", "window:width=auto")
DEFAULTS: dict[str, dict[str, Any]] = {
    "bench": {
        "datasets": "synthetic",
        "task": "expression",
        "labels": "frame",
        "split": "auto",
        "extractor": "template:layout=emotic",
        "backbones": "hog",
        "main": "face",
        "regions": "eye,mouth",  # none, if there are subsets
        "subsets": None,
        "fusions": "concat",
        "smoothers": DEFAULT_SMOOTHERS,
        "recipe": {},
        "seeds": 5,
        "reference": None,  # depends on main
        "limit": None,
        "impute": "nearest",
        "plugins": (),
        "custom_imports": (),
    },
    "finetune": {
        "dataset": None,  # required
        "split": "auto",
        "limit": None,
        "extractor": "template:layout=emotic",
        "view": "face",
        "auxiliary": None,
        "backbone": None,  # required without init
        "init": None,
        "fusion": {},
        "recipe": {},
        "run": {},
        "smoothers": "none",
        "seeds": 1,
        "plugins": (),
        "custom_imports": (),
    },
    "pretrain": {
        "data": None,  # required
        "split": "train",
        "limit": None,
        "stride": 1,
        "encoder": {},
        "decoder": {},
        "recipe": {},
        "run": {},
        "seed": 0,
        "plugins": (),
        "custom_imports": (),
    },
}
