"""The network, its initial weights, ONNX export and bundles."""
