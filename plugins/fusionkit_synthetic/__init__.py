"""Procedural face video: persons, expressions as action units, and a camera; a data set without download."""
