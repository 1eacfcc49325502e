"""Procedural face video: people, expressions as action units, a camera; the data set that needs no download."""
