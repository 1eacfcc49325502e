"""How the weights of the backbone ``tiny-mae`` were made, in some minutes on one quiet core.

Its people are drawn with a seed of their own: nobody of the data set ``synthetic`` as it is benchmarked is among them.
"""

data = ["synthetic:train=120,val=2,test=2,clips=6,clip_length=16,seed=7,missing=0"]
encoder = {"model": "vit_tiny_patch16_224", "size": 64, "patch": 8, "width": 128, "depth": 4, "heads": 4}
decoder = {"width": 64, "depth": 2, "heads": 4}
recipe = {"epochs": 10, "warmup_epochs": 1, "batch_size": 128, "base_lr": 2e-3}
