"""MAE-Face as far as it is known: ViT-B/16 on faces, with He et al.'s recipe. Name the faces with --data.

MAE-Face was pre-trained on AffectNet, CASIA-WebFace, CelebA and IMDB-WIKI. Mask ratio, decoder and epochs are those of
the released code and of a replication. The batch of 4096 and the learning rate of 0.0024 are not confirmed by a source
that we have read: they agree with He et al.'s 1.5e-4 a 256 images, which is used here. What is not written here (AdamW
with 0.9 and 0.95, weight decay 0.05, 40 epochs of warm-up, crops of 0.2 to 1, normalised targets, fixed positions) is
He et al.'s recipe, arXiv:2111.06377, and our reading of MAE-Face.
"""

encoder = {"model": "vit_base_patch16_224", "positions": "sincos"}
decoder = {"width": 512, "depth": 8, "heads": 16}
recipe = {
    "mask_ratio": 0.75,
    "epochs": 800,
    "warmup_epochs": 40,
    "batch_size": 4096,  # over all processes: not confirmed
    "base_lr": 1.5e-4,  # a peak of 0.0024: not confirmed
}
run = {"accumulation": 8, "cache_mb": 0}
