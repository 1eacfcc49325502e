"""The paper's sliding window, whose width is not known: from none to 501 frames, on clips long enough to tell.

All widths share the trained heads, so that one more costs a moment. The ends of the drawn clips and the pace of their
expressions decide which width is best here; on other data it is another.
"""

_base_ = ["../_base_/paper.py"]

datasets = ["synthetic:train=24,val=8,test=20,clips=1,clip_length=300"]
smoothers = [
    "window:width=1",
    "window:width=5",
    "window:width=11",
    "window:width=25",
    "window:width=51",
    "window:width=101",
    "window:width=201",
    "window:width=501",
]
