"""What the bare ``fusionkit bench`` runs: the concat fusion of eye and mouth beside the face, on synthetic faces."""

datasets = ["synthetic"]
regions = ["eye,mouth"]
fusions = ["concat"]
