"""Checked configs of grids and training runs: config files, training recipes, splits, views."""
