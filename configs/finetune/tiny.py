"""A fine-tuning in a minute or two on a processor: drawn faces, a small network from scratch, or from ``--init FILE``.

The label, one of two, hides in the mouth (``interaction=unique``), and can be learned from a few hundred faces.
"""

dataset = "synthetic:interaction=unique"
limit = 800
view = "face"
extractor = "template:layout=emotic"
backbone = {"type": "timm", "model": "test_resnet", "size": 64}
recipe = {"epochs": 8, "batch_size": 32, "lr": 3e-3, "layer_decay": 1.0, "drop_path": 0.0, "warmup_epochs": 1}
