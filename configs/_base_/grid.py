"""What every grid has unless it says otherwise."""

split = "auto"
extractor = "template:layout=emotic"
backbones = ["hog"]
main = "face"
smoothers = ["none", "window:width=auto"]
recipe = {}
seeds = 5
