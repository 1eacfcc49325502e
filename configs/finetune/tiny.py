"""A fine-tuning in minutes on a processor: drawn faces, a small transformer from scratch, or from ``--init FILE``."""

dataset = "synthetic"
limit = 1500
view = "face"
extractor = "template:layout=emotic"
backbone = {"type": "timm", "model": "test_vit", "size": 64, "pool": "avg"}
recipe = {"epochs": 10, "batch_size": 64, "lr": 1e-3, "layer_decay": 1.0, "drop_path": 0.0, "warmup_epochs": 1}
