"""Files that lie about themselves: npy, npz and safetensors."""

import json
import pickle
import struct
from typing import Final

import numpy as np

from tests.chaos.hostile_request import Coded, Hostile, posts
from tests.rigs.request_bodies import (
    NPY,
    NPZ,
    SAFETENSORS,
    entry,
    npy,
    npy_of,
    npz_of,
    safetensors,
    zip_of,
    zipped,
)

ONE: Final = np.ones((2, 2), np.float32)
FILE: Final = npy_of(ONE)
DATA: Final = ONE.tobytes()
F32: Final = entry("F32", [2, 2], 0, 16)
BIG: Final = 2**63


def described(descr: str = "'<f4'", order: str = "False", shape: str = "(2, 2)") -> str:
    """The text of an npy header, padded as numpy does."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    return text + " " * (117 - len(text)) + "\n"


NPY_FILES: Final[tuple[bytes, ...]] = (
    npy(described("4"), DATA), npy(described("None"), DATA), npy(described("('<f4', (2,))"), DATA),
    npy(described("b'<f4'"), DATA), b"", b"\x93", b"\x93NUMPY", b"\x93NUMPY\x01\x00",
    b"\x93NUMPX\x01\x00\x02\x00{}", b"NUMPY\x01\x00", FILE[:-1], FILE + b"\x00", FILE[:64],
    FILE[:128], b"\x00" * 200, pickle.dumps([1, 2]), npy("", DATA), npy("\n", DATA),
    npy("{}\n", DATA), npy("[]\n", DATA), npy("1\n", DATA), npy(described(), DATA, length=0),
    npy(described(), DATA, length=65_535), npy(described(), DATA, version=9),
    npy(described(), DATA, version=2, length=2**32 - 1), npy(described(), DATA, version=0),
    npy("{" * 5_000 + "\n", DATA), npy("(" * 60_000 + "\n", DATA), npy("__import__('os')\n", DATA),
    npy(described(shape="(2, 2"), DATA), npy(described(shape="(-2, -2)"), DATA),
    npy(described(shape="(2.0, 2)"), DATA), npy(described(shape="[2, 2]"), DATA),
    npy(described(shape="'22'"), DATA), npy(described(shape="(True, 4)"), DATA),
    npy(described(shape="(2, 3)"), DATA), npy(described(shape="(1, 2)"), DATA),
    npy(described(shape="(2**2,)"), DATA), npy(described(shape=f"({BIG}, {BIG})"), DATA),
    npy(described(shape=f"({2**31}, {2**33})"), DATA),
    npy(described(shape="(" + "9" * 5_000 + ",)"), DATA), npy(described(order="1"), DATA),
    npy(described(order="None"), DATA), npy(described(order="0 or True"), DATA),
    npy("{'descr': '<f4', 'fortran_order': False}\n", DATA),
    npy("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}\n", DATA),
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'nope': 1}\n", DATA),
    npy(described("'<f4'") + "\x00" * 50, DATA), npy(described() + "x = 1\n", DATA),
)  # fmt: skip
NPY_DTYPES: Final[tuple[bytes, ...]] = tuple(
    npy(described(descr), DATA)
    for descr in (
        "'|O'", "'O'", "'>f4'", "'<U4'", "'|S4'", "'<M8[s]'", "'<m8[s]'", "'|V4'", "'<f3'",
        "'<f16'", "''", "[('a', '<f4')]", "'<f4,<f4'", "'float32; import os'", "'<x4'",
    )
)  # fmt: skip
ONE_F32: Final = b'"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HEADERS: Final[Coded] = {
    "malformed-body": (
        b"", b"\x00", b"\x00" * 7, b"\x00" * 8, struct.pack("<Q", BIG),
        struct.pack("<Q", 2**64 - 1) + b"{}", struct.pack("<Q", 2**32) + b"{}",
        safetensors(b"", DATA), safetensors(b"{", DATA), safetensors(b"[]", DATA),
        safetensors(b"null", DATA), safetensors(b"1", DATA), safetensors(b"\xff{}", DATA),
        safetensors(b"{}\x00", DATA), safetensors({"x": F32}, DATA, length=3),
        safetensors({"x": F32}, DATA, length=BIG), safetensors({"x": F32}, DATA[:-1]),
        safetensors({"x": F32}, DATA + b"\x00"), safetensors({"x": F32}),
        safetensors({"x": {}}, DATA), safetensors({"x": 1}, DATA), safetensors({"x": None}, DATA),
        safetensors({"x": []}, DATA), safetensors({"x": entry("F32", [2, 2], 16, 0)}, DATA),
        safetensors({"x": entry("F32", [2, 2], -16, 0)}, DATA),
        safetensors({"x": entry("F32", [2, 2], 0, 15)}, DATA),
        safetensors({"x": entry("F32", [2, 2], 0, BIG)}, DATA),
        safetensors({"x": entry("F32", [2, 2], 4, 20)}, DATA + DATA[:4]),
        safetensors({"x": entry("F32", [2, 3], 0, 16)}, DATA),
        safetensors({"x": entry("F32", [-2, -2], 0, 16)}, DATA),
        safetensors({"x": entry("F32", [2.0, 2], 0, 16)}, DATA),
        safetensors({"x": entry("F32", "22", 0, 16)}, DATA),
        safetensors({"x": entry("F32", None, 0, 16)}, DATA),
        safetensors({"x": entry("F32", [True, 4], 0, 16)}, DATA),
        safetensors({"x": entry("F32", [2**32, 2**32], 0, 0)}),
        safetensors({"x": entry("F32", [2**62, 2**62], 0, 16)}, DATA),
        safetensors(b'{"x":{"dtype":"F32","shape":[18446744073709551616,0],"data_offsets":[0,0]}}'),
        safetensors({"x": F32, "y": F32}, DATA), safetensors({"x": F32 | {"nope": 1}}, DATA),
        safetensors({"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0]}}, DATA),
        safetensors({"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16, 16]}}, DATA),
        safetensors({"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": ["0", "16"]}}, DATA),
        safetensors({"x": F32, "__metadata__": [1]}, DATA),
        safetensors({"x": F32, "__metadata__": {"a": 1}}, DATA),
        safetensors(b'{"x":' * 1_000 + b"1" + b"}" * 1_000, DATA),
        safetensors(b'{"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}", DATA),
        safetensors({"x": F32 | {"shape": json.loads("[" * 200 + "]" * 200)}}, DATA),
        safetensors(b'{"x":' + b"[" * 5_000, DATA), safetensors(b'{"x":' * 5_000, DATA),
    ),
    "duplicate-key": (
        safetensors(b"{%b,%b}" % (ONE_F32, ONE_F32), DATA[:4]),
        safetensors(
            b'{"x":{"dtype":"F32","dtype":"I8","shape":[1],"data_offsets":[0,4]}}', DATA[:4]
        ),
    ),
}  # fmt: skip
# Well-formed files that say something that no call can have.
TENSORS: Final[Coded] = {
    "unknown-dtype": tuple(
        safetensors({"x": F32 | {"dtype": name}}, DATA)
        for name in ("F31", "", "f32", "OBJECT", "__import__", "x" * 10_000, 1, None, ["F32"])
    ),
    "unknown-field": (
        safetensors({"y": F32}, DATA), safetensors({"x\x00": F32}, DATA),
        safetensors({"": F32}, DATA), safetensors({"../x": F32}, DATA),
        safetensors({"x": entry("F32", [2], 0, 8), "y": entry("F32", [2], 8, 16)}, DATA),
        safetensors({f"{i}": entry("F32", [0], 0, 0) for i in range(1_000)}),
    ),
    "missing-field": (safetensors({}), safetensors({"__metadata__": {"x": "1"}})),
    "limit-exceeded": (
        safetensors({"x": entry("F32", [1] * 17, 0, 4)}, DATA[:4]),
        safetensors({"x": entry("F32", [0, 2**62], 0, 0)}),
    ),
}  # fmt: skip
TORN: Final = zip_of({"x.npy": FILE})
ARCHIVES: Final[Coded] = {
    "malformed-body": (
        zip_of({"x.npy": FILE, "x.npy/": FILE}), zip_of({"/etc/passwd": FILE}), b"", b"PK",
        b"PK\x03\x04", b"\x00" * 100, TORN[:-1], TORN[1:], TORN[:40], TORN[40:], TORN + b"\x00",
        b"\x00" + TORN, TORN + TORN, zipped(b"x.npy", FILE, flags=1),
        zipped(b"x.npy", FILE, method=8), zipped(b"x.npy", FILE, method=99),
        zipped(b"x.npy", FILE, method=12), zipped(b"x.npy", FILE, checksum=0),
        zipped(b"x.npy", FILE, packed=2**32 - 1), zipped(b"x.npy", FILE, packed=1),
        zipped(b"x.npy", FILE, size=1), zipped(b"x.npy", FILE, size=2**32 - 1),
        zipped(b"x.npy", FILE, offset=2**31), zipped(b"x.npy", FILE, offset=4),
        zipped(b"x.npy", FILE, disk=7), zipped(b"x.npy", FILE, local=b"y.npy"),
        zipped(b"x.npy", FILE, count=2), zipped(b"x.npy", FILE, signature=b"PK\1\3"),
        zipped(b"x.npy", FILE, gap=b"gap"), zipped(b"x.npy", FILE, end=b""), zip_of({"x.npy": b""}),
        zip_of({"x.npy": b"\x93NUMPY"}), zip_of({"x.npy": FILE[:-1]}),
        zip_of({"x.npy": FILE + b"\x00"}),
    ),
    "duplicate-key": (
        zipped(b"x.npy", FILE, times=2, count=2),
    ),
}  # fmt: skip
# Of archives whose members are fine, and are not what /norm takes.
NAMES: Final[Coded] = {
    "unknown-field": (
        zipped(b"\xff\xfe.npy", FILE), zip_of({"y.npy": FILE}),
        zip_of({"x.npy": FILE, "y.npy": FILE}), zip_of({"../x.npy": FILE}), zip_of({".npy": FILE}),
        zip_of({"x" * 60_000 + ".npy": FILE}),
    ),
    "limit-exceeded": (
        zipped(b"x.npy", FILE, count=65_535),
        zip_of({f"{index}.npy": FILE for index in range(2_000)}),
    ),
    "missing-field": (
        zip_of({}),
    ),
}  # fmt: skip
FILE_RECORDS: Final[tuple[Hostile, ...]] = (
    *posts("npy", "/norm", {"malformed-body": NPY_FILES}, 400, kind=NPY),
    *posts("npy", "/norm", {"unknown-dtype": NPY_DTYPES}, 422, kind=NPY),
    *posts(
        "npy", "/matmul", {"missing-field": (npz_of({"a": ONE, "b": ONE}), FILE)}, 422, kind=NPY
    ),
    *posts("safetensors", "/norm", HEADERS, 400, kind=SAFETENSORS),
    *posts("safetensors", "/norm", TENSORS, 422, kind=SAFETENSORS),
    *posts("npz", "/norm", ARCHIVES, 400, kind=NPZ),
    *posts("npz", "/norm", NAMES, 422, kind=NPZ),
)
