"""Every fusion of tokens and of maps, beside three of pooled views, on a backbone that gives all three."""

datasets = ["synthetic"]
backbones = ["tiny-mae:grid=1"]
regions = ["eye,mouth"]
fusions = [
    # pooled
    "plain-concat", "mlp", "scaled-attention",
    # on tokens
    "cross-attention", "self-attention", "bottleneck", "perceiver",
    # on maps
    "attention-pool",
]  # fmt: skip
smoothers = ["none"]
seeds = 3
