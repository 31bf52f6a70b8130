"""Media types of the formats, which codecs, negotiation and routes refer to."""

from typing import Final

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"  # RFC 9457
SAFETENSORS: Final = "application/x-safetensors"
NPZ: Final = "application/x-npz"
NPY: Final = "application/x-npy"
BYTES: Final = "application/octet-stream"
