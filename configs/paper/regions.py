"""Which regions guide the face: eye, mouth and nose, each alone, two stacked into one view, and all three."""

_base_ = ["../_base_/paper.py"]

regions = ["nose", "eye", "mouth", "eye+mouth", "eye,mouth,nose"]
