"""A masked autoencoder in minutes on a processor: small drawn faces, a small transformer."""

data = ["synthetic"]
encoder = {"model": "vit_tiny_patch16_224", "size": 64, "patch": 8, "width": 128, "depth": 4, "heads": 4}
decoder = {"width": 64, "depth": 2, "heads": 4}
recipe = {"epochs": 40, "warmup_epochs": 4, "batch_size": 128, "base_lr": 2e-3}
