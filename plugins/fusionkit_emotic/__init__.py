"""The paper: Emotic Masked Autoencoder on Dual-views with Attention Fusion (Nguyen et al., arXiv 2403.13039)."""
