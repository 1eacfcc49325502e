"""Fusions from the literature, and the plain baselines to compare them with."""
