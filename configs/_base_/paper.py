"""What the grids of the paper share, on data and features that are there at once: drawn faces and HOG.

Aff-Wild2 and two fine-tuned MAE-Face take their place by

    --dataset affwild2:root=DIR --set backbones.0.face=mae-face:checkpoint=face.pth
    --set backbones.0.default=mae-face:checkpoint=eye-mouth.pth
"""

datasets = ["synthetic"]
backbones = [{"face": "hog", "default": "hog"}]
main = "face"
regions = ["eye+mouth"]
fusions = ["concat:width=1024,hidden=512"]
smoothers = ["none"]
