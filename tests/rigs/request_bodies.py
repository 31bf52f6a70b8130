"""Bodies of binary formats: valid ones by the formats' own packages, broken ones by hand."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import torch
from safetensors.torch import save

from service.core.dtypes import DTYPES

Array = npt.NDArray[Any]

SAFETENSORS: Final = "application/x-safetensors"
NPZ: Final = "application/x-npz"
NPY: Final = "application/x-npy"
RAW: Final = "application/octet-stream"
JSON: Final = "application/json"
IN_SAFETENSORS: Final = [name for name in DTYPES if name != "complex128"]
IN_NUMPY: Final = [name for name in DTYPES if name != "bfloat16"]


def tensor_of(name: str, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return a tensor of random bits, NaN among them; for bool, of 0 and 1."""
    if 0 in shape:
        return torch.empty(shape, dtype=DTYPES[name].torch)
    raw = np.random.default_rng(seed).bytes(prod(shape) * DTYPES[name].itemsize)
    bits = np.frombuffer(raw, np.uint8) & (1 if name == "bool" else 255)
    return torch.from_numpy(bits.copy()).view(DTYPES[name].torch).reshape(shape)


def bits_of(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor in row-major order."""
    flat = tensor.contiguous().reshape(-1)
    return (flat.view(torch.int16) if flat.dtype == torch.bfloat16 else flat).numpy().tobytes()


def safetensors_of(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return a file written by the safetensors package."""
    return save(dict(tensors))


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a safetensors file with any header, stated length and data."""
    text = header if isinstance(header, bytes) else orjson.dumps(header)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: object, begin: int, end: int) -> dict[str, object]:
    """Return the entry of one tensor in a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def npy_of(array: Array) -> bytes:
    """Return a file written by numpy.save."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy(header: str, data: bytes = b"", *, version: int = 1, length: int | None = None) -> bytes:
    """Return an npy file with any header, stated length and data."""
    text = header.encode("latin-1")
    stated = len(text) if length is None else length
    size = struct.pack("<H" if version == 1 else "<I", stated)
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + data


def npz_of(arrays: Mapping[str, Array], *, deflated: bool = False) -> bytes:
    """Return a file written by numpy.savez or numpy.savez_compressed."""
    file = io.BytesIO()
    (np.savez_compressed if deflated else np.savez)(file, allow_pickle=False, **arrays)
    return file.getvalue()


def zip_of(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive written by zipfile."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def zipped(
    name: bytes,
    data: bytes,
    *,
    flags: int = 0,
    method: int = 0,
    checksum: int | None = None,
    packed: int | None = None,
    size: int | None = None,
    offset: int = 0,
    disk: int = 0,
    local: bytes | None = None,
    signature: bytes = b"PK\1\2",
    count: int = 1,
    times: int = 1,
    end: bytes | None = None,
    gap: bytes = b"",
) -> bytes:
    """Return an archive of one member, any field of which may be wrong.

    `times` repeats its entry in the directory; `gap` is between the directory and its end.
    """
    crc = zlib.crc32(data) if checksum is None else checksum
    here = local if local is not None else name
    sizes = (len(data) if packed is None else packed, len(data) if size is None else size)
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 0, crc, *sizes, len(here), 0)
    one = struct.pack(
        "<4s6H3I5H2I", signature, 20, 20, flags, method, 0, 0, crc, *sizes, len(name), 0, 0, disk,
        0, 0, offset,
    )  # fmt: skip
    directory = (one + name) * times
    start = len(head) + len(here) + len(data)
    last = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory) + len(gap), start, 0
    )
    return head + here + data + directory + gap + (last if end is None else end)
