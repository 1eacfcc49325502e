"""The authors' recipe for their auxiliary view: eye and mouth, cut by fixed fractions and stacked."""

_base_ = ["emotic_face.py"]

view = "eye+mouth"
