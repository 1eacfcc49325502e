"""Data sets that are read from disk."""
