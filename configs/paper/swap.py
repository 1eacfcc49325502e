"""Does synthesis without training help? Regions of two rare classes are swapped within a unit, or are not."""

_swapped = {
    "type": "swapped",
    "source": "synthetic",
    "classes": ["Fear", "Disgust"],
    "regions": ["eye", "mouth"],
}

datasets = [{**_swapped, "copies": 0}, {**_swapped, "copies": 2}]
regions = ["eye,mouth"]
fusions = ["mlp"]
