"""Table of the supported dtypes: names, torch types and numpy types."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal

import numpy as np
import torch

from service.errors import UnknownDtypeError, did_you_mean, quote

Kind = Literal["float", "integer", "bool", "complex"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """Row of the table: name on the wire, types, and name in the Open Inference Protocol.

    `numpy` is the little-endian type with the bytes of the tensor. numpy has no bfloat16, whose
    bytes are sent as uint16.
    """

    name: str
    kind: Kind
    torch: torch.dtype
    numpy: np.dtype[np.generic]
    protocol: str | None
    itemsize: int

    @property
    def low(self) -> int:
        """Smallest value of an integer dtype."""
        return int(torch.iinfo(self.torch).min)

    @property
    def high(self) -> int:
        """Largest value of an integer dtype."""
        return int(torch.iinfo(self.torch).max)


def _dtype(name: str, kind: Kind, numpy: str, protocol: str | None) -> Dtype:
    code = np.dtype(numpy).newbyteorder("<")
    return Dtype(name, kind, getattr(torch, name), code, protocol, code.itemsize)


DTYPES: Final[dict[str, Dtype]] = {
    dtype.name: dtype
    for dtype in (
        _dtype("float32", "float", "float32", "FP32"),
        _dtype("float64", "float", "float64", "FP64"),
        _dtype("float16", "float", "float16", "FP16"),
        _dtype("bfloat16", "float", "uint16", "BF16"),
        _dtype("int8", "integer", "int8", "INT8"),
        _dtype("int16", "integer", "int16", "INT16"),
        _dtype("int32", "integer", "int32", "INT32"),
        _dtype("int64", "integer", "int64", "INT64"),
        _dtype("uint8", "integer", "uint8", "UINT8"),
        _dtype("bool", "bool", "bool", "BOOL"),
        _dtype("complex64", "complex", "complex64", None),
        _dtype("complex128", "complex", "complex128", None),
    )
}

FLOATS: Final = frozenset(d.torch for d in DTYPES.values() if d.kind == "float")
INTEGERS: Final = frozenset(d.torch for d in DTYPES.values() if d.kind == "integer")
COMPLEX: Final = frozenset(d.torch for d in DTYPES.values() if d.kind == "complex")
BOOL: Final = frozenset({torch.bool})
NUMBERS: Final = FLOATS | INTEGERS | COMPLEX
# The widest dtype of each kind that has a fraction.
WIDE: Final = {
    **dict.fromkeys(FLOATS, torch.float64),
    **dict.fromkeys(COMPLEX, torch.complex128),
}
# Dtypes of computations on a cluster: numpy sums float16 with too few digits.
IN_BLOCKS: Final = frozenset({torch.float32, torch.float64}) | COMPLEX
IN_NUMPY: Final = frozenset(d.torch for d in DTYPES.values()) - {torch.bfloat16}

_BY_TORCH: Final = {dtype.torch: dtype for dtype in DTYPES.values()}
_BY_NAME: Final = DTYPES | {d.protocol: d for d in DTYPES.values() if d.protocol}


# Of numpy and other clients, which this table does not have: the narrowest that holds their values.
_UNSIGNED: Final = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}


def unsigned_hint(name: str) -> str | None:
    """Return the hint for an unsigned dtype that is not in the table, or None."""
    holding = _UNSIGNED.get(name.lower())
    if holding is None:
        return None
    below = " below 2^63" if name.lower() == "uint64" else ""
    return f"{holding} holds all values of {name}{below}"


def describe(dtype: torch.dtype) -> Dtype:
    """Return the row of a torch dtype."""
    return _BY_TORCH[dtype]


def parse_dtype(name: object) -> Dtype:
    """Return the dtype of a name or protocol name; UnknownDtypeError lists the choices."""
    found = _BY_NAME.get(name) if isinstance(name, str) else None
    if found is None:
        hint = None
        if isinstance(name, str):
            hint = unsigned_hint(name) or did_you_mean(name, _BY_NAME)
        raise UnknownDtypeError(
            f"no dtype is named {quote(name)}; choose one of {', '.join(DTYPES)}", hint=hint
        )
    return found


def promote(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """Return the dtype that all of `dtypes` promote to by torch's table, regardless of ranks."""
    return reduce(torch.promote_types, dtypes)
