"""Every fusion of tokens, beside three of pooled views, on a backbone that gives tokens."""

datasets = ["synthetic"]
backbones = ["tiny-mae:grid=1"]
regions = ["eye,mouth"]
fusions = [
    # pooled
    "plain-concat", "mlp", "scaled-attention",
    # on tokens
    "cross-attention", "self-attention", "bottleneck", "perceiver",
]  # fmt: skip
smoothers = ["none"]
seeds = 3
