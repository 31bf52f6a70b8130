"""Valid requests in every format, as input of mutations."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from random import Random
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import torch

from service.core.dtypes import DTYPES
from tests.cases import Array, Row, named, rows, to_json
from tests.chaos.hostile_packed import zstd
from tests.rigs.inference_bodies import BYTES, LENGTH, PROTOCOL, as_bytes, as_json, tensor
from tests.rigs.request_bodies import (
    IN_NUMPY,
    IN_SAFETENSORS,
    JSON,
    NPY,
    NPZ,
    SAFETENSORS,
    bits_of,
    npy_of,
    npz_of,
    safetensors_of,
    zip_of,
)


@dataclass(frozen=True, slots=True)
class FuzzRequest:
    """A POST request; fields that its format has no place for are in `query`."""

    path: str
    body: bytes
    kind: str = JSON
    query: Mapping[str, Any] = field(default_factory=dict)
    # Wraps the body after it was changed, so that checksums around it stay valid.
    pack: Callable[[bytes], bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Path and query."""
        pairs = (f"{name}={quote(_text(value))}" for name, value in self.query.items())
        return f"{self.path}?{'&'.join(pairs)}" if self.query else self.path

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with that of the body's kind."""
        return {"content-type": self.kind, **self.headers}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@cache
def samples() -> tuple[Row, ...]:
    """Return calls of every operation that some strategy supports."""
    return tuple(
        row
        for row in rows()
        if row.strategy == "auto" and row.device == "cpu" and row.takes_dtype and row.chosen
    )


def _names(row: Row) -> list[str]:
    return list(row.op.operands or map(str, range(len(row.sample.shapes))))


def _tensors(row: Row) -> dict[str, torch.Tensor]:
    pairs = zip(_names(row), row.operands(), strict=True)
    return {name: tensor(values, row.dtype) for name, values in pairs}


def _arrays(row: Row) -> dict[str, Array]:
    code = DTYPES[row.dtype].numpy
    return {name: x.astype(code) for name, x in zip(_names(row), row.operands(), strict=True)}


def _query(row: Row) -> dict[str, Any]:
    return dict(row.sample.params)


def as_objects(random: Random, row: Row) -> FuzzRequest:
    """Tensor objects, by any strategy that takes them."""
    body = row.body(random.choice(["auto", *row.takers()]))
    del body["device"]
    if random.random() < 0.3:
        body["output"] = random.choice(["nested", "flat", "base64"])
    return FuzzRequest(f"/{row.op.name}", json.dumps(body).encode())


def as_lists(random: Random, row: Row) -> FuzzRequest:
    """Plain arrays, whose dtype is a field of the request."""
    tensors = [to_json(x, row.dtype)["data"] for x in row.operands()]
    body = {**named(row.op, tensors), **row.sample.params, "dtype": row.dtype}
    if random.random() < 0.3:
        del body["dtype"]
    return FuzzRequest(f"/{row.op.name}", json.dumps(body).encode())


def as_base64(random: Random, row: Row) -> FuzzRequest:
    """The bytes of the tensors as base64."""
    tensors = [
        {
            "shape": list(x.shape),
            "dtype": row.dtype,
            "b64": base64.b64encode(bits_of(x)).decode(),
        }
        for x in _tensors(row).values()
    ]
    body = {**named(row.op, tensors), **row.sample.params}
    return FuzzRequest(f"/{row.op.name}", json.dumps(body).encode())


def as_safetensors(random: Random, row: Row) -> FuzzRequest:
    """Return a body written by the safetensors package."""
    return FuzzRequest(f"/{row.op.name}", safetensors_of(_tensors(row)), SAFETENSORS, _query(row))


def as_npz(random: Random, row: Row) -> FuzzRequest:
    """Return a body written by numpy, compressed or not."""
    arrays = _arrays(row)
    if random.random() < 0.5:
        return FuzzRequest(
            f"/{row.op.name}", npz_of(arrays, deflated=random.random() < 0.5), NPZ, _query(row)
        )
    first, *others = (f"{name}.npy" for name in arrays)
    files = {f"{name}.npy": npy_of(x) for name, x in arrays.items()}

    def pack(file: bytes) -> bytes:
        return zip_of({first: file, **{name: files[name] for name in others}})

    return FuzzRequest(f"/{row.op.name}", files[first], NPZ, _query(row), pack)


def as_npy(random: Random, row: Row) -> FuzzRequest:
    """Return a body of the one operand written by numpy, in row-major or column-major order."""
    array = next(iter(_arrays(row).values()))
    body = npy_of(np.asfortranarray(array) if random.random() < 0.3 else array)
    return FuzzRequest(f"/{row.op.name}", body, NPY, _query(row))


def as_protocol_json(random: Random, row: Row) -> FuzzRequest:
    """The Open Inference Protocol, its data in JSON."""
    inputs = dict(zip(_names(row), row.operands(), strict=True))
    body = as_json(inputs, row.dtype, parameters=dict(row.sample.params), id="1")
    return FuzzRequest(f"/v2/models/{row.op.name}/infer", json.dumps(body).encode())


def as_protocol_bytes(random: Random, row: Row) -> FuzzRequest:
    """The same with binary data."""
    inputs = dict(zip(_names(row), row.operands(), strict=True))
    body, headers = as_bytes(inputs, row.dtype, parameters=dict(row.sample.params))
    path = f"/v2/models/{row.op.name}/infer"
    return FuzzRequest(path, body, BYTES, headers={LENGTH: headers[LENGTH]})


def packed(coding: str, pack: Callable[[bytes], bytes]) -> Callable[[Random, Row], FuzzRequest]:
    """Requests of which the body is compressed."""

    def build(random: Random, row: Row) -> FuzzRequest:
        sent = random.choice((as_objects, as_lists, as_safetensors))(random, row)
        sent = replace(sent, headers={"content-encoding": coding})
        if random.random() < 0.5:
            return replace(sent, pack=pack)
        return replace(sent, body=pack(sent.body))

    return build


FORMATS: Final[Mapping[str, Callable[[Random, Row], FuzzRequest]]] = {
    "JSON objects": as_objects,
    "JSON lists": as_lists,
    "base64": as_base64,
    "safetensors": as_safetensors,
    "npz": as_npz,
    "npy": as_npy,
    "gzip": packed("gzip", partial(gzip.compress, mtime=0)),
    "deflate": packed("deflate", zlib.compress),
    "zstd": packed("zstd", zstd),
    "protocol JSON": as_protocol_json,
    "protocol bytes": as_protocol_bytes,
}
_HELD: Final[Mapping[str, Any]] = {
    "npz": IN_NUMPY,
    "npy": IN_NUMPY,
    "protocol JSON": PROTOCOL,
    "protocol bytes": PROTOCOL,
}


def valid_request(random: Random, name: str) -> FuzzRequest:
    """A request in a format."""
    held = _HELD.get(name, IN_SAFETENSORS)
    while True:
        row = random.choice(samples())
        if row.dtype in held and (name != "npy" or len(row.sample.shapes) == 1):
            return FORMATS[name](random, row)
