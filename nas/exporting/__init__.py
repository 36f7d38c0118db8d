"""A network as ONNX, and the check against PyTorch."""
