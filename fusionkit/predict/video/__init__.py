"""Predict photos and videos with a trained cell, in memory that does not grow with the length of a video."""
