"""Every fusion of pooled views on the same embeddings, with what each costs."""

datasets = ["synthetic"]
regions = ["eye,mouth"]
fusions = [
    # plain
    "plain-concat", "plain-mean", "plain-sum", "plain-max", "weighted-mean", "mlp",
    # the paper's
    "concat", "mean", "updown-concat", "updown-mean", "scaled-attention",
    # gates and attention
    "gated", "film", "squeeze-excitation", "ms-cam", "aff", "iaff", "region-attention", "mixture-of-experts",
    # products
    "hadamard", "low-rank", "tensor", "mutan",
    # late
    "logit-mean", "logit-weights", "product-of-experts", "majority-vote", "qmf", "evidential", "stacking",
]  # fmt: skip
smoothers = ["none"]
seeds = 3
