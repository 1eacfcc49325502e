"""Tasks: what is predicted of a frame, and how it is scored."""
