"""Checked descriptions of grids and training runs: config files, recipes, splits, views."""
