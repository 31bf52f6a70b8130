"""Media types of the formats. A module apart, because formats and routes both name them."""

from typing import Final

JSON: Final = "application/json"
SAFETENSORS: Final = "application/x-safetensors"
NPZ: Final = "application/x-npz"
NPY: Final = "application/x-npy"
BYTES: Final = "application/octet-stream"
