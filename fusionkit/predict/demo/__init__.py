"""A page on this machine that shows what a trained cell sees and predicts."""
