"""Export of trained cells as ONNX and ``torch.export`` programs, and prediction from them."""
