"""Data sets: folders of images, and the procedural faces that need no download."""
