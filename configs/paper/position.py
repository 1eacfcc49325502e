"""Where should the auxiliary view enter? The same small network, joined at every position, against the main view alone.

    fusionkit finetune paper/position

On drawn faces whose label hides in whether eyes and mouth differ, so that neither view tells it alone. Ipsilateral
mammograms were compared at five positions (Pre, Early, Middle, Last, Post: arXiv:2309.02197), which we read for a
ResNet as input, block:1, block:2 or block:3, block:4, and pooled or logits. On faces of your own:

    fusionkit finetune finetune/face --dataset SPEC --init FILE --auxiliary eye+mouth
        --set fusion.position=alone,input,block:3,block:6,block:12,pooled,logits --set fusion.combine=average,concat
"""

dataset = "synthetic:interaction=synergy"
limit = 800
view = "mouth"
auxiliary = "eye"
extractor = "template:layout=emotic"
backbone = {"type": "timm", "model": "test_resnet", "size": 32}
fusion = {"position": ["alone", "input", "block:1", "block:2", "block:3", "pooled", "logits"], "combine": "average"}
recipe = {
    "epochs": 8,
    "batch_size": 32,
    "lr": 3e-3,
    "layer_decay": 1.0,
    "drop_path": 0.0,
    "warmup_epochs": 1,
}
seeds = 2
