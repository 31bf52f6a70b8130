"""safetensors requests and responses.

A JSON header gives dtype, shape and offsets of each tensor. All of it is checked before a tensor is
made: lengths against the bytes that are there, offsets against each other, names for duplicates.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from math import prod
from struct import Struct
from typing import Any, Final, NoReturn

import orjson

from service.codecs.base import (
    NO_FIELDS,
    SHORT_BYTES,
    UNBOUNDED_BYTES,
    Body,
    DecodeContext,
    WholeReader,
)
from service.codecs.binary.slices import (
    CACHED_HEADER_BYTES,
    DecodedHeader,
    TensorSlice,
    call_from_header,
    decode_header,
)
from service.codecs.envelope import envelope_json, envelope_lines
from service.codecs.json.document import depth_of
from service.codecs.media_types import SAFETENSORS
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Call, Outcome, Output, Tensor
from service.core.dtypes import DTYPES, Dtype, describe, unsigned_hint
from service.core.response import HttpResponse
from service.core.timing import Stopwatch
from service.core.validators import integers
from service.errors import DuplicateKeyError, MalformedBodyError, UnknownDtypeError, quote
from service.registry import Op

MAX_HEADER_BYTES: Final = 65_536
_LENGTH: Final = Struct("<Q")  # of the header, which follows
PREFIX: Final = _LENGTH.size
MAX_DEPTH: Final = 3  # the header, an entry, a shape
METADATA: Final = "__metadata__"
KEYS: Final = {"dtype", "shape", "data_offsets"}
CODES: Final[Mapping[str, Dtype]] = {
    code: DTYPES[name]
    for code, name in (
        *(("F32", "float32"), ("F64", "float64"), ("F16", "float16"), ("BF16", "bfloat16")),
        *(("I8", "int8"), ("I16", "int16"), ("I32", "int32"), ("I64", "int64"), ("U8", "uint8")),
        *(("BOOL", "bool"), ("C64", "complex64")),
    )
}
_CODE_OF: Final = {dtype.name: code for code, dtype in CODES.items()}


def header_text(body: Body) -> bytes:
    """Return the text of the header."""
    if len(body) < PREFIX:
        _refuse(f"it has {len(body)} bytes, and begins with 8 that give the length of its header")
    (length,) = _LENGTH.unpack_from(body)
    start = PREFIX + length
    if length > MAX_HEADER_BYTES:
        _refuse(f"its header would have {length} bytes; at most {MAX_HEADER_BYTES} are read")
    if start > len(body):
        _refuse(f"it ends after {len(body)} bytes, within a header of {length}")
    return bytes(body[PREFIX:start])


def read_header(text: bytes, size: int) -> Mapping[str, TensorSlice]:
    """Return the tensors by name; they have to fill the body, which has `size` bytes."""
    start = PREFIX + len(text)
    slices = {}
    ends = []
    for name, entry in _read_entries(text).items():
        dtype, shape, begin, end = _read_entry(name, entry)
        slices[name] = TensorSlice(dtype, shape, start + begin)
        ends.append((begin, end))
    position = 0
    for begin, end in sorted(ends):
        if begin != position:
            _refuse(f"one tensor ends at byte {position} of the data, the next begins at {begin}")
        position = end
    if start + position != size:
        _refuse(f"its tensors end at byte {start + position}, and the body at {size}")
    return slices


def _read_entries(text: bytes) -> dict[str, Any]:
    """Return the JSON object of the header, without its metadata.

    Raises DuplicateKeyError if an object has a key twice.
    """
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        _refuse(f"its header is not JSON: {error}")
    if not isinstance(header, dict) or not text.startswith(b"{"):
        _refuse("its header does not begin as a JSON object")
    if depth_of(text) > MAX_DEPTH:
        _refuse(f"its header is nested deeper than the {MAX_DEPTH} that a shape takes")
    # orjson drops the first of two pairs with one key: its colon is then missing from the count.
    if b"\\" in text or _count_colons(header) != text.count(b":"):
        json.loads(text, object_pairs_hook=_unique)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        _refuse(f"{METADATA} is no object of strings")
    return header


def _count_colons(value: object) -> int:
    """Return the number of colons between keys and values, and in strings."""
    if isinstance(value, str):
        return value.count(":")
    if isinstance(value, list):
        return sum(map(_count_colons, value))
    if not isinstance(value, dict):
        return 0
    return sum(1 + key.count(":") + _count_colons(each) for key, each in value.items())


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKeyError(
            f"the safetensors header has {quote(twice)} twice", hint="send it once"
        )
    return found


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Return a list of integers as a tuple, else None; the format has no 1.0 for 1."""
    sizes = integers(value)
    return None if sizes is None or float in map(type, value) else sizes


def _read_entry(name: str, entry: Any) -> tuple[Dtype, tuple[int, ...], int, int]:
    """Return dtype and shape of a tensor, and its begin and end in the data."""
    if not isinstance(entry, dict) or entry.keys() != KEYS:
        _refuse(f"{quote(name)} is no object of {', '.join(sorted(KEYS))}")
    code, shape = entry["dtype"], _sizes(entry["shape"])
    if shape is None or min(shape, default=0) < 0:
        _refuse(f"the shape of {quote(name)} is {quote(entry['shape'])}, no list of sizes")
    offsets = _sizes(entry["data_offsets"])
    if offsets is None or len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1]:
        _refuse(f"the data_offsets of {quote(name)} are {quote(entry['data_offsets'])}")
    dtype = CODES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise UnknownDtypeError(
            f"{quote(name)} has the safetensors dtype {quote(code)}; "
            f"choose one of {', '.join(CODES)}",
            hint=unsigned_hint(f"uint{code[1:]}") if str(code).startswith("U") else None,
        )
    begin, end = offsets
    wanted = prod(shape) * dtype.itemsize
    if wanted != end - begin:
        _refuse(
            f"{quote(name)} of shape {quote(tuple(shape))} and dtype {code} takes "
            f"{quote(wanted)} bytes, and has {end - begin}"
        )
    return dtype, shape, begin, end


def _refuse(why: str) -> NoReturn:
    raise MalformedBodyError(f"the body is no safetensors file: {why}")


def _decode_header(
    text: bytes, size: int, op: Op[Any], context: DecodeContext, query: tuple[tuple[str, str], ...]
) -> DecodedHeader:
    """Return the checked call for the header of a body of `size` bytes."""
    return decode_header(read_header(text, size), op, context, dict(query))


_decode_header_cached: Final = lru_cache(maxsize=256)(_decode_header)


class SafetensorsCodec(WholeReader):
    """application/x-safetensors, which has no code for complex128."""

    media_type: Final = SAFETENSORS
    thread_bytes: Final = UNBOUNDED_BYTES
    dtypes: Final = frozenset(dtype.torch for dtype in CODES.values())
    element_ns: Final = 0
    has_outputs: Final = False

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """Decode a short body."""
        return self.decode(body, op, context, query) if len(body) <= SHORT_BYTES else None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Decode the tensors of the body, which are named as the operands."""
        text = header_text(body)
        is_short = len(text) <= CACHED_HEADER_BYTES
        given = tuple(query.items()) if query else ()
        header = (_decode_header_cached if is_short else _decode_header)(
            text, len(body), op, context, given
        )
        return call_from_header(header, repeat(body), op, context)

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write a file of the tensor `result`; the envelope is JSON text in its metadata."""
        data = [to_bytes(outcome.result)]
        timing = watch.stop()
        envelope = envelope_json(outcome, timing, request_id)
        head = file_head({"result": outcome.result}, data, envelope)
        lines = envelope_lines(outcome, timing, envelope)
        return HttpResponse.of(self.media_type, (head, *data), lines)


def file_head(
    tensors: Mapping[str, Tensor], data: Sequence[bytes | memoryview], envelope: bytes
) -> bytes:
    """Return the beginning of a file of tensors by name, whose bytes `data` follow it."""
    described: dict[str, Any] = {METADATA: {"envelope": envelope.decode()}}
    end = 0
    for (name, tensor), chunk in zip(tensors.items(), data, strict=True):
        begin, end = end, end + len(chunk)
        described[name] = {
            "dtype": _CODE_OF[describe(tensor.dtype).name],
            "shape": tuple(tensor.shape),
            "data_offsets": (begin, end),
        }
    header = orjson.dumps(described)
    header += b" " * (-len(header) % 8)  # so that the first tensor is aligned in the file
    return len(header).to_bytes(PREFIX, "little") + header
