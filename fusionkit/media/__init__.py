"""Photos and videos as they come from a camera: found, decoded upright, their faces followed and aligned."""
