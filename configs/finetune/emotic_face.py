"""The authors' recipe for the face: MAE-Face ViT-B/16, Adam, 20 epochs. Name the data and the weights:

    fusionkit finetune finetune/emotic_face --dataset SPEC --init mae_face_pretrain_vit_base.pth

As in the released code of Emotic Masked Autoencoder on Dual-views (CVPR Workshops 2024): Adam at 1e-4 without weight
decay, a tenth of it from epoch 17 on, batches of 288, crops of 0.8 to 1 of the area, mirroring, plain cross-entropy
without class weights, drop path 0.1, mean of the patch tokens, ImageNet's mean and deviation. The epoch is chosen by
accuracy, on their validation set; here on dev, which is carved from train where a data set has train and val only.
Theirs is float16; here bfloat16 where a card computes in it.
"""

view = "face"
extractor = "template:layout=emotic"
backbone = {"type": "timm", "model": "vit_base_patch16_224.mae", "pool": "avg"}
recipe = {
    "epochs": 20,
    "batch_size": 288,
    "optimizer": "adam",
    "lr": 1e-4,
    "weight_decay": 0.0,
    "layer_decay": 1.0,
    "schedule": "step",
    "warmup_epochs": 0,
    "step_at": 0.8,
    "step_factor": 0.1,
    "class_weights": "none",
    "drop_path": 0.1,
    "crop": 0.8,
    "flip": 0.5,
    "select": "accuracy",
}
