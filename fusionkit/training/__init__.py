"""Training of backbones: stage 1 pre-trains on faces without labels, stage 2 fine-tunes with labels."""
