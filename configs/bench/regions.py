"""Which regions carry expression: every view alone and in sets, on the same backbone with the same plain fusion."""

datasets = ["synthetic"]
main = "none"
regions = ["face", "eye", "mouth", "nose", "eye+mouth", "eye,mouth", "eye,mouth,nose"]
fusions = ["mlp"]
