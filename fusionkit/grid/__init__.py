"""Many cells: what a grid needs (plan), where it is kept (folder), and how it comes about (run)."""
