"""One cell's way through, in reading order: source, embed, features, fit, smooth, score."""
