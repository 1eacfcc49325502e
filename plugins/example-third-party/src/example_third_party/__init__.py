"""A plugin package as somebody else would write it: one component of each kind."""
