"""What every grid has unless it says otherwise."""

split = "auto"
extractor = "template:layout=emotic"
backbones = ["hog"]
main = "face"
recipe = {}
seeds = 5
