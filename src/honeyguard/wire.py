"""What both sides of the Open Inference Protocol v2 agree on."""

LENGTH = "Inference-Header-Content-Length"
"""Header: bytes of the JSON before the binary tensors."""
BINARY = "binary_tensor_data"
"""Name of the extension in the server's metadata."""
DTYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
