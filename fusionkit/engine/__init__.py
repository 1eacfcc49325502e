"""The stages of one cell, in reading order: source, fold, embed, features, fit, smooth, score; perturb."""
