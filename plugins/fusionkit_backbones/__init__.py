"""Backbones: any timm model, and training-free descriptors to compare it with."""
