"""The paper's whole way at a toy size: the four keys, with and without a window, on two backbones that were trained.

The commands that come before and after are in docs/paper.md, "From faces without labels to predictions". They leave
drawn clips in ``faces`` and a fine-tuned network in ``face`` and in ``eye-mouth``; start this beside them.
"""

_base_ = ["../_base_/paper.py"]

datasets = ["affwild2:root=faces"]
backbones = [
    {
        "face": "timm:checkpoint=face/best/backbone.safetensors",
        "default": "timm:checkpoint=eye-mouth/best/backbone.safetensors",
    }
]
fusions = ["concat", "mean", "updown-concat", "updown-mean"]  # at the default width of 256: a sixteenth of the cost
smoothers = ["none", "window:width=5"]  # the clips have eight frames
seeds = 3
