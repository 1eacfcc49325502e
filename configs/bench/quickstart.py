"""What the bare ``fusionkit bench`` runs: the concat fusion of eye and mouth beside the face, on synthetic faces."""

_base_ = ["../_base_/grid.py"]

datasets = ["synthetic"]
regions = ["eye,mouth"]
fusions = ["concat"]
