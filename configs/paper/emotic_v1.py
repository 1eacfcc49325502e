"""The authors' released system: two frozen backbones, eye and mouth stacked beside the face, the concat key, one epoch.

What is set here is the release's, but for data and backbones, and for the seeds: it has one. The recipe is meant for
features of hundreds of thousands of frames; on fewer, one epoch is a handful of steps and trains next to nothing.
"""

_base_ = ["../_base_/paper.py"]

recipe = {
    "standardize": False,
    "optimizer": "adam",
    "lr": 1e-5,
    "weight_decay": 0.0,
    "batch_size": 1024,
    "epochs": 1,
    "patience": 0,
    "class_weights": "none",
}
