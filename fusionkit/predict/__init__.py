"""Predict: a trained cell applied to new frames, from what its run folder holds."""
