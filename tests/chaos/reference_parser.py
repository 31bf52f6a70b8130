"""Reference parser of requests, independent of the service: json, numpy, the safetensors package.

It is strict. For an unusual request it raises `UndecidedError`, and only the status of the response
can be checked. For a request that must not be computed it raises `RefusedError`.
"""

import gzip
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load

from service.codecs.zstd import ZstdDecompressor, ZstdError
from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from tests.chaos.reference_json import (
    NAMES,
    SHOWN,
    Json,
    RefusedError,
    UndecidedError,
    dtype_named,
    operand,
    promoted,
    shape_of,
    strict,
    tensor_of_bytes,
)
from tests.chaos.valid_requests import FuzzRequest
from tests.rigs.inference_bodies import LENGTH
from tests.rigs.request_bodies import NPY, NPZ, SAFETENSORS

COMMON: Final = ("strategy", "device", "dtype", "output", "deadline_ms")


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call whose operands are in the dtype that they are promoted to."""

    op: str
    operands: tuple[torch.Tensor, ...]
    params: Mapping[str, Json]
    output: str = "nested"

    @property
    def dtype(self) -> str:
        """The dtype of the operands."""
        return next(n for n, each in DTYPES.items() if each.torch == self.operands[0].dtype)


def parse(sent: FuzzRequest) -> ParsedCall:
    """Parse a request; an UnreadError or a RefusedError if that is nothing known."""
    body = inflated(sent.body, sent.headers.get("content-encoding"))
    if sent.path.startswith("/v2/"):
        return _of_protocol(sent, body)
    op = sent.path.split("/")[1]
    if sent.kind == SAFETENSORS:
        return _of_tensors(op, _of_safetensors(body), sent.query)
    if sent.kind == NPZ:
        return _of_tensors(op, _of_npz(body), sent.query)
    if sent.kind == NPY:
        return _of_tensors(op, {_only_name(op): _of_npy(body)}, sent.query)
    fields = strict(body)
    if not isinstance(fields, dict):
        raise RefusedError("no object")
    return _of_fields(op, fields)


def inflated(body: bytes, coding: str | None) -> bytes:
    """Return the decompressed body."""
    try:
        match coding:
            case "gzip":
                return gzip.decompress(body)
            case "deflate":
                return zlib.decompress(body)
            case "zstd":
                return ZstdDecompressor().decompress(body)
            case _:
                return body
    except (OSError, EOFError, zlib.error, ZstdError) as error:
        raise RefusedError(str(error)) from None


def _of_fields(op: str, fields: dict[str, Json]) -> ParsedCall:
    """A JSON request."""
    names = REGISTRY[op].operands
    params = {param.name for param in REGISTRY[op].params}
    if unknown := fields.keys() - params - {*COMMON, *(names or ("operands",))}:
        raise RefusedError(f"unknown fields {sorted(unknown)}"[:SHOWN])
    required = {"equation", *(names or ("operands",))}
    fields = {name: x for name, x in fields.items() if x is not None or name in required}
    if names is None:
        given = fields.get("operands")
        if not isinstance(given, list):
            raise RefusedError("no operands")
    else:
        if missing := set(names) - fields.keys():
            raise RefusedError(f"missing {missing}")
        given = [fields[name] for name in names]
    asked = dtype_named(fields["dtype"]) if "dtype" in fields else None
    stated = [
        dtype_named(x["dtype"]) if isinstance(x, dict) and x.get("dtype") is not None else None
        for x in given
    ]
    known = [DTYPES[name].torch for name in stated if name]
    plain = asked or (_name(reduce(torch.promote_types, known)) if known else "float32")
    tensors = [operand(x, name or plain) for x, name in zip(given, stated, strict=True)]
    output = fields.get("output", "nested")
    found = {name: fields[name] for name in fields.keys() & params}
    return ParsedCall(op, promoted(tensors), found, output if isinstance(output, str) else "")


def _of_tensors(
    op: str, tensors: Mapping[str, torch.Tensor], query: Mapping[str, Json]
) -> ParsedCall:
    """A request in a format of tensors alone."""
    names = REGISTRY[op].operands or tuple(str(index) for index in range(len(tensors)))
    if set(names) != set(tensors):
        raise RefusedError(f"the names are {sorted(tensors)}"[:SHOWN])
    params = {name: _parameter(name, value) for name, value in query.items()}
    return ParsedCall(op, promoted([tensors[name] for name in names]), params)


def _of_protocol(sent: FuzzRequest, body: bytes) -> ParsedCall:
    """A request of the Open Inference Protocol, in which null is nothing."""
    length = int(sent.headers.get(LENGTH, len(body)))
    if not 0 < length <= len(body):
        raise RefusedError("the length")
    fields, rest = _present(strict(body[:length])), body[length:]
    tensors = _inputs(fields.get("inputs"), rest)
    if fields.keys() & {"outputs"}:
        raise UndecidedError("outputs")
    params = _present(fields.get("parameters") or {})
    op = sent.path.split("/")[3]
    if "binary_data_output" in params:
        raise UndecidedError("binary output")
    if unknown := params.keys() - {p.name for p in REGISTRY[op].params} - {*COMMON, "timeout"}:
        raise RefusedError(f"unknown parameters {sorted(unknown)}"[:SHOWN])
    return _of_tensors(op, tensors, params)


def _inputs(inputs: Json, rest: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a request, of which `rest` are the bytes."""
    tensors: dict[str, torch.Tensor] = {}
    for each in map(_present, inputs if isinstance(inputs, list) else [None]):
        name, shape, parameters = each.get("name"), each.get("shape"), each.get("parameters")
        if not isinstance(name, str) or name in tensors or each.get("datatype") not in NAMES:
            raise RefusedError(f"an input of {each}"[:SHOWN])
        size = _present(parameters or {}).get("binary_data_size")
        dtype = NAMES[each["datatype"]]
        if size is None:
            tensors[name] = operand({"shape": shape, "data": each.get("data")}, dtype)
        else:
            if "data" in each or not isinstance(size, int) or not 0 <= size <= len(rest):
                raise RefusedError(f"the size {size}"[:SHOWN])
            tensors[name] = tensor_of_bytes(rest[:size], dtype, shape_of(shape))
            rest = rest[size:]
    if rest:
        raise RefusedError("bytes are left")
    return tensors


def _present(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise RefusedError(f"no object: {value}"[:SHOWN])
    return {name: each for name, each in value.items() if each is not None}


def _parameter(name: str, value: Json) -> Json:
    """A parameter, which may be JSON text."""
    if name in ("equation", "op", "kind") or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _of_safetensors(body: bytes) -> dict[str, torch.Tensor]:
    try:
        return load(body)
    except Exception as error:  # noqa: BLE001  # its own class of errors, torch's and Python's
        raise RefusedError(str(error)[:SHOWN]) from None


def _of_npz(body: bytes) -> dict[str, torch.Tensor]:
    # Zlib's own error, zipfile's and numpy's, and the NotImplementedError of a method of packing.
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            return {name: _of_array(archive[name]) for name in archive.files}
    except Exception as error:  # noqa: BLE001
        raise RefusedError(str(error)[:SHOWN]) from None


def _of_npy(body: bytes) -> torch.Tensor:
    try:
        return _of_array(np.lib.format.read_array(io.BytesIO(body), allow_pickle=False))
    except (ValueError, OSError, EOFError, MemoryError, OverflowError, TypeError) as error:
        raise RefusedError(str(error)[:SHOWN]) from None


def _of_array(array: Any) -> torch.Tensor:
    if array.dtype.newbyteorder("=") not in {np.dtype(d.numpy) for d in DTYPES.values()}:
        raise RefusedError(f"dtype {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _only_name(op: str) -> str:
    return (REGISTRY[op].operands or ("0",))[0]


def _name(dtype: torch.dtype) -> str:
    return next(name for name, each in DTYPES.items() if each.torch == dtype)
