"""Statistics from confusion counts: intervals, permutation tests, the bootstrap, Shapley values."""
