"""Reference parser of JSON and of tensors in it, independent of the service."""

import base64
import binascii
import json
import math
import re
from functools import reduce
from typing import Any, Final, NoReturn

import torch

from service.core.dtypes import DTYPES

Json = Any
WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
NAMES: Final = {dtype.protocol: name for name, dtype in DTYPES.items() if dtype.protocol}
DECIMAL: Final = re.compile(r"-?\d{1,100}", re.ASCII)
SHOWN: Final = 200


class RefusedError(Exception):
    """The request must be refused."""


class UndecidedError(Exception):
    """The reference parser does not support the request."""


def strict(text: bytes) -> Json:
    """Parse JSON by RFC 8259, with unique keys."""
    try:
        return json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_int=_integer,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RefusedError(str(error)) from None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RefusedError("a key appears twice")
    return found


def _refuse(text: str) -> NoReturn:
    raise RefusedError(text[:SHOWN])


def _integer(text: str) -> int | float:
    if text == "-0":
        return -0.0
    return int(text) if len(text) < 1000 else math.inf


def dtype_named(name: Json) -> str:
    """The dtype of that name, in either spelling."""
    found = NAMES.get(name, name) if isinstance(name, str) else None
    if found not in DTYPES:
        raise RefusedError(f"dtype {name}"[:SHOWN])
    return str(found)


def shape_of(value: Json) -> list[int]:
    """Sizes of axes."""
    if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
        raise RefusedError(f"shape {value}"[:SHOWN])
    if not all(x >= 0 and x % 1 == 0 for x in value):
        raise RefusedError(f"shape {value}"[:SHOWN])
    sizes = list(map(int, value))
    if math.prod(sizes) > 2**20 or math.prod(max(x, 1) for x in sizes) > 2**40:
        raise UndecidedError("size")
    return sizes


def operand(value: Json, dtype: str) -> torch.Tensor:
    """Return the tensor of a JSON value, in `dtype`."""
    if not isinstance(value, dict):
        return _of_lists(value, dtype, None)
    if value.keys() - {"shape", "dtype", "data", "b64"}:
        raise RefusedError(f"keys {sorted(value)}"[:SHOWN])
    value = {key: each for key, each in value.items() if each is not None}
    if {"data", "b64"} <= value.keys():
        raise RefusedError("data twice")
    shape = shape_of(value["shape"]) if "shape" in value else None
    if "data" in value:
        return _of_lists(value["data"], dtype, shape)
    if "b64" not in value or shape is None or "dtype" not in value:
        raise RefusedError("too little")
    try:
        data = base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise RefusedError("base64") from None
    return tensor_of_bytes(data, dtype, shape)


def tensor_of_bytes(data: bytes, dtype: str, shape: list[int]) -> torch.Tensor:
    """The tensor of these bytes."""
    known = DTYPES[dtype]
    if len(data) != math.prod(shape) * known.itemsize:
        raise RefusedError(f"{len(data)} bytes")
    if dtype == "bool" and set(data) - {0, 1}:
        raise RefusedError("bytes of bool")
    if not data:
        return torch.empty(shape, dtype=known.torch)
    return torch.frombuffer(bytearray(data), dtype=known.torch).reshape(shape)


def _of_lists(value: Json, dtype: str, stated: list[int] | None) -> torch.Tensor:
    """Nested or flat numbers."""
    shape: list[int] = []
    level = [value]
    while any(isinstance(each, list) for each in level):
        if not all(isinstance(each, list) for each in level) or len(set(map(len, level))) > 1:
            raise RefusedError("ragged")
        shape.append(len(level[0]))
        level = [item for each in level for item in each]
    known = DTYPES[dtype]
    flat = torch.tensor([_element(x, dtype) for x in level], dtype=_wide(known.kind))
    parts = {"complex64": torch.float32, "complex128": torch.float64}
    held = flat.to(parts.get(dtype, known.torch))
    if known.kind in ("float", "complex") and (held.isinf() & flat.isfinite()).any():
        raise RefusedError("a number would become infinite")
    if known.kind == "complex":
        if stated is None and shape[-1:] != [2] and 0 not in shape:
            raise RefusedError("no pairs")
        if len(level) % 2 or (stated is None and shape[-1:] != [2]):
            raise UndecidedError("no pairs")
        held = torch.view_as_complex(held.reshape(-1, 2))
        shape = shape if stated is not None else shape[:-1]
    wanted = shape if stated is None else stated
    if held.numel() != math.prod(wanted):
        raise RefusedError(f"{held.numel()} numbers for {wanted}"[:SHOWN])
    return held.reshape(wanted)


def _wide(kind: str) -> torch.dtype:
    return {"integer": torch.int64, "bool": torch.bool}.get(kind, torch.float64)


def _element(value: Json, dtype: str) -> bool | int | float:
    known = DTYPES[dtype]
    if known.kind == "bool":
        if isinstance(value, bool):
            return value
    elif known.kind == "integer":
        if isinstance(value, str) and DECIMAL.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            value = int(value)
        if type(value) is int and known.low <= value <= known.high:
            return value
    elif type(value) in (int, float) and abs(value) < 2**1024 and math.isfinite(value):
        return float(value)
    elif isinstance(value, str) and value in WORDS:
        return WORDS[value]
    raise RefusedError(f"{value!r} is no {dtype}"[:SHOWN])


def promoted(tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The tensors in the one dtype that holds them."""
    if not tensors:
        raise RefusedError("no operands")
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    found = tuple(x.to(dtype) for x in tensors)
    pairs = zip(tensors, found, strict=True)
    if any((after.isinf() & before.isfinite()).any() for before, after in pairs):
        raise RefusedError("a number would become infinite")
    return found
