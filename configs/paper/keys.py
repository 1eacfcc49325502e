"""The paper's four ways to generate the attention's key; two of them are our reading, see docs/paper.md."""

_base_ = ["../_base_/paper.py"]

fusions = [
    "concat:width=1024,hidden=512",
    "mean:width=1024,hidden=512",
    "updown-concat:width=1024,hidden=512",
    "updown-mean:width=1024,hidden=512",
]
