"""Which fusion can use which kind of information: a label in one region, in both alike, or only in their combination.

With ``main = "none"`` nothing but the two regions is seen. No method can score more than .9: one label in ten is wrong.
"""

datasets = [
    "synthetic:interaction=unique,missing=0",
    "synthetic:interaction=redundant,missing=0",
    "synthetic:interaction=synergy,missing=0",
]
main = "none"
regions = ["eye", "mouth", "eye,mouth"]
fusions = ["logit-mean", "plain-concat", "mlp", "gated", "hadamard", "low-rank"]
smoothers = ["none"]
reference = "none"
seeds = 3
