"""npy requests and responses: one tensor, as numpy.save writes it.

The format is that of numpy.lib.format. Its header is the text of a Python dict with dtype, shape
and order. It is never evaluated: a regular expression matches the few forms that plain arrays have,
in 5 us where `ast.literal_eval` takes 40.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any, Final, NoReturn

from service.codecs.base import (
    NO_FIELDS,
    SHORT_BYTES,
    UNBOUNDED_BYTES,
    Body,
    Buffer,
    DecodeContext,
    WholeReader,
)
from service.codecs.binary.slices import TensorSlice, call_from_slices
from service.codecs.envelope import envelope_json, envelope_lines
from service.codecs.media_types import NPY
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Call, Outcome, Output
from service.core.dtypes import DTYPES, IN_NUMPY, Dtype, describe, unsigned_hint
from service.core.response import HttpResponse
from service.core.timing import Stopwatch
from service.errors import MalformedBodyError, MissingFieldError, Place, UnknownDtypeError, quote
from service.registry import Op

MAGIC: Final = b"\x93NUMPY"
# Size of the field with the header's length, by version of the format.
LENGTH_BYTES: Final = {1: 2, 2: 4, 3: 4}
# Enough for a plain array of 64 axes: only structured dtypes, which are refused, take more.
MAX_HEADER_BYTES: Final = 4096
CACHED_HEADER_BYTES: Final = 256
MAX_DIGITS: Final = 20
ITEM: Final = re.compile(
    r"""\s*(?P<quote>['"])(?P<key>\w{1,20})(?P=quote)\s*:\s*
    (?: (?P<mark>['"])(?P<text>[^'"\\]*)(?P=mark) | (?P<flag>True|False) | (?P<list>\[.*\])
      | \((?P<sizes>[\d\s,]*)\) )
    \s*(?:,|(?=\}))""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
SIZES: Final = re.compile(r"\s*(?:\d+\s*,\s*)*(?:\d+\s*)?", re.ASCII)
SPACES: Final = " \t\r\n\f"
ONE_BYTE: Final = ("i1", "u1", "b1")  # any byte order is accepted for them
ORDERS: Final = ("|", "<", ">", "=")
# Dtypes by the code that numpy writes for them. It has no bfloat16.
CODES: Final = {dtype.numpy.str: dtype for dtype in DTYPES.values() if dtype.name != "bfloat16"}


def read_slice(body: Buffer, name: str) -> TensorSlice:
    """Return the position of the tensor: from the end of the header to the end of the file.

    `name` is that of the file in errors.
    """
    version = body[len(MAGIC)] if len(body) > len(MAGIC) else 0
    if body[: len(MAGIC)] != MAGIC:
        _refuse(name, "it does not begin with \\x93NUMPY")
    if version not in LENGTH_BYTES or body[7:8] != b"\0":
        _refuse(name, "its version is none of 1.0, 2.0 and 3.0")
    begin = 8 + LENGTH_BYTES[version]
    length = int.from_bytes(body[8:begin], "little")
    if length > MAX_HEADER_BYTES:
        _refuse(name, f"its header would have {length} bytes; at most {MAX_HEADER_BYTES} are read")
    start = begin + length
    if start > len(body):
        _refuse(name, f"it ends after {len(body)} bytes, within its header")
    text = bytes(body[begin:start])
    parse = _parse_cached if length <= CACHED_HEADER_BYTES else _parse
    dtype, shape, column_major = parse(text, name)
    wanted, found = prod(shape) * dtype.itemsize, len(body) - start
    if wanted != found:
        _refuse(
            name,
            f"shape {quote(tuple(shape))} of {dtype.name} takes {quote(wanted)} bytes, "
            f"and {found} follow the header",
        )
    return TensorSlice(dtype, shape, start, column_major)


def write_header(dtype: Dtype, shape: tuple[int, ...]) -> bytes:
    """Return the header of a tensor in row-major order, padded to a multiple of 64 like numpy's."""
    text = f"{{'descr': '{dtype.numpy.str}', 'fortran_order': False, 'shape': {shape}, }}"
    length = len(text) + 1
    length += -(len(MAGIC) + 4 + length) % 64
    return MAGIC + b"\1\0" + length.to_bytes(2, "little") + text.ljust(length - 1).encode() + b"\n"


def _parse(text: bytes, name: str) -> tuple[Dtype, tuple[int, ...], bool]:
    """Return dtype, shape, and whether the tensor is in column-major order."""
    found: dict[str, re.Match[str]] = {}
    inside = text.decode("latin-1").strip(" \n")
    position = 1
    while item := ITEM.match(inside, position):
        if item["key"] in found:
            _refuse(name, f"its header has {quote(item['key'])} twice")
        found[item["key"]] = item
        position = item.end()
    # `\s` also matches a vertical tab, which is no space in Python source.
    if inside[:1] != "{" or inside[position:].strip(SPACES) != "}" or "\v" in inside:
        _refuse(name, f"its header is not the dict that numpy writes: {quote(inside)}")
    if found.keys() != {"descr", "fortran_order", "shape"}:
        _refuse(name, "its header has to have descr, fortran_order and shape, and nothing else")
    order, sizes = found["fortran_order"]["flag"], found["shape"]["sizes"]
    if order is None:
        _refuse(name, "fortran_order is True or False")
    if sizes is None or not SIZES.fullmatch(sizes):
        _refuse(name, "shape is a tuple of sizes")
    digits = re.findall(r"\d+", sizes)
    if "," not in sizes and digits:
        _refuse(name, f"shape is a tuple: ({digits[0]},), not ({digits[0]})")
    if len(digits) > 64 or any(len(each) > MAX_DIGITS for each in digits):
        _refuse(name, "shape has more than 64 axes, or a size of more than 20 digits")
    return _dtype(found["descr"]["text"], name), tuple(map(int, digits)), order == "True"


_parse_cached: Final = lru_cache(maxsize=256)(_parse)


def _dtype(code: str | None, name: str) -> Dtype:
    kind = (code or "")[1:]
    plain = ("|" if kind in ONE_BYTE else "<") + kind
    dtype = CODES.get(plain)
    order = (code or "")[:1]
    if dtype is not None and (code == plain or (kind in ONE_BYTE and order in ORDERS)):
        return dtype
    hint = None
    if dtype is not None:
        hint = f"send it as little-endian: x.astype({plain!r})"
    elif kind[:1] == "u":
        hint = unsigned_hint(f"uint{8 * int(kind[1:])}") if kind[1:].isdecimal() else None
    elif code is None or kind.startswith("V"):
        hint = "records are not read; bfloat16 can be sent as safetensors"
    elif kind == "O":
        hint = "objects come as a pickle, which is a program; send numbers"
    raise UnknownDtypeError(
        f"{name} has {'fields' if code is None else f'the dtype {quote(code)}'}; "
        f"choose one of {', '.join(CODES)}",
        hint=hint,
    )


def _refuse(name: str, why: str) -> NoReturn:
    raise MalformedBodyError(f"{name} is no npy file: {why}")


class NpyCodec(WholeReader):
    """application/x-npy, which has no code for bfloat16."""

    media_type: Final = NPY
    thread_bytes: Final = UNBOUNDED_BYTES
    dtypes: Final = IN_NUMPY
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
        """Decode the one tensor of the body; the operation has to take a single operand."""
        names = op.operands if op.operands is not None else ("0",)
        if len(names) > 1:
            raise MissingFieldError(
                f"an npy file is one tensor, and {op.name} needs {' and '.join(names)}",
                hint="send both in an npz or a safetensors file",
                places=[Place(f"/{name}", "missing") for name in names[1:]],
            )
        return call_from_slices(
            {names[0]: (read_slice(body, "the body"), body)}, op, context, query
        )

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write a file of the tensor; the envelope is a header."""
        result = outcome.result
        header = write_header(describe(result.dtype), tuple(result.shape))
        payload = (header, to_bytes(result))
        timing = watch.stop()
        envelope = envelope_json(outcome, timing, request_id)
        return HttpResponse.of(self.media_type, payload, envelope_lines(outcome, timing, envelope))
