"""Backbones: any timm model, and training-free descriptors to hold it against."""
