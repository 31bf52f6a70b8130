"""Every way that JSON text becomes a tensor: the readers, their thresholds, and kinds of buffers.

A way takes the text of a list of one number and the name of a dtype, and returns the tensor. What
RFC 8259 says of a number holds in each of them. A reader that is added gets an entry in `WAYS`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from service.codecs import Body, DecodeContext
from service.codecs.base import THREAD_TEXT_BYTES
from service.codecs.inference.codec import InferenceCodec
from service.codecs.json.codec import SHORT_BYTES, JsonCodec
from service.codecs.json.plain import LONGEST
from service.codecs.number_text import THREADED_BYTES
from service.core.call import Tensor
from service.core.dtypes import DTYPES
from service.operations.broadcast.strategies import op as broadcast
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from tests.unit.codecs.json.decoding import without_compiled_code

Way = Callable[[str, str], Tensor]
CODEC: Final = JsonCodec()
CONTEXT: Final = DecodeContext(max_elements=10**6, dtype=DTYPES["float32"], max_deadline_ms=1000)
# Sizes of a body at which another way begins.
THRESHOLDS: Final = (LONGEST, SHORT_BYTES, THREADED_BYTES, THREAD_TEXT_BYTES)
QUICK_BYTES: Final = 10_000


def around(sizes: Iterable[int]) -> list[int]:
    """Return each size, and those just below and above it."""
    return sorted({size + more for size in sizes for more in (-1, 0, 1)})


def _body(operand: str, dtype: str) -> str:
    return f'{{"dtype": "{dtype}", "x": {operand}}}'


def _decode(body: Body | str, context: DecodeContext = CONTEXT) -> Tensor:
    return CODEC.decode(body.encode() if isinstance(body, str) else body, norm, context).operands[0]


def _of_size(size: int) -> Way:
    """Return the way of a body of so many bytes; white space before the operand is a part of it."""

    def read(operand: str, dtype: str) -> Tensor:
        text = _body(operand, dtype)
        return _decode(text.replace(operand, " " * (size - len(text)) + operand))

    return read


def _without_compiled_code(way: Way) -> Way:
    """Return the same way where the extension could not be built."""

    def read(operand: str, dtype: str) -> Tensor:
        with without_compiled_code():
            return way(operand, dtype)

    return read


def _in_an_object(size: int) -> Way:
    """Return the way of data in an object with their dtype."""
    return lambda operand, dtype: _decode(
        f'{{"x": {{"dtype": "{dtype}", "data": {operand}}}}}'.ljust(size)
    )


def _one_by_one(size: int) -> Way:
    """Return the way of elements beside a list of strings, which is no array of numbers."""

    def read(operand: str, dtype: str) -> Tensor:
        word = "0" if DTYPES[dtype].kind == "integer" else "NaN"
        body = f'{{"dtype": "{dtype}", "a": {operand}, "b": ["{word}"]}}'.ljust(size)
        return CODEC.decode(body.encode(), matmul, CONTEXT).operands[0]

    return read


def _with_a_boolean(operand: str, dtype: str) -> Tensor:
    return _decode(f'{{"keepdim": true, "dtype": "{dtype}", "x": {operand}}}')


def _with_an_escape(operand: str, dtype: str) -> Tensor:
    return _decode(_body(operand, dtype).replace('"x"', r'"\u0078"'))


def _with_a_query(operand: str, dtype: str) -> Tensor:
    return CODEC.decode(f'{{"x": {operand}}}'.encode(), norm, CONTEXT, {"dtype": dtype}).operands[0]


def _in_shared_memory(operand: str, dtype: str) -> Tensor:
    return _decode(memoryview(_body(operand, dtype).ljust(SHORT_BYTES).encode()))


def _in_a_bytearray(operand: str, dtype: str) -> Tensor:
    return _decode(bytearray(_body(operand, dtype).encode()))


def _in_the_event_loop(operand: str, dtype: str) -> Tensor:
    body = _body(operand, dtype).ljust(SHORT_BYTES + 1).encode()
    call = CODEC.try_decode(body, norm, CONTEXT)
    return _decode(body) if call is None else call.operands[0]


def _as_it_arrives(operand: str, dtype: str) -> Tensor:
    body = _body(operand, dtype).encode()
    buffer = bytearray(len(body))
    reading = CODEC.begin(buffer, norm, CONTEXT)
    if reading is None:
        return _decode(body)
    for end in sorted({len(body) // 2, len(body) - 2, len(body)}):
        buffer[:end] = body[:end]
        reading.feed(end)
    return reading.decode(CONTEXT).operands[0]


def _by_the_text(operand: str, dtype: str) -> Tensor:
    """Read a document again with the text of each number, as after a tie."""
    _decode(_body(operand, dtype))  # checks it
    with without_compiled_code():
        return _decode(_body(operand, dtype), replace(CONTEXT, exact=True))


def _inference(*, has_length: bool) -> Way:
    """Return the way of the Open Inference Protocol; with a length, the JSON is cached."""

    def read(operand: str, dtype: str) -> Tensor:
        datatype = DTYPES[dtype].protocol
        entry = f'{{"name": "0", "shape": [1], "datatype": "{datatype}", "data": {operand}}}'
        body = f'{{"inputs": [{entry}], "parameters": {{"to": "[1]"}}}}'.encode()
        codec = InferenceCodec("auto", len(body) if has_length else None)
        return codec.decode(body, broadcast, CONTEXT).operands[0]

    return read


WAYS: Final[dict[str, Way]] = {
    "small": lambda operand, dtype: _decode(_body(operand, dtype)),
    **{f"{size} bytes": _of_size(size) for size in around(THRESHOLDS) if size <= QUICK_BYTES},
    "small object": _in_an_object(0),
    "large object": _in_an_object(SHORT_BYTES),
    "small, one by one": _one_by_one(0),
    "large, one by one": _one_by_one(SHORT_BYTES),
    "with a boolean": _with_a_boolean,
    "with an escape": _with_an_escape,
    "with a query": _with_a_query,
    "in shared memory": _in_shared_memory,
    "in a bytearray": _in_a_bytearray,
    "in the event loop": _in_the_event_loop,
    "as it arrives": _as_it_arrives,
    "by the text": _by_the_text,
    "inference": _inference(has_length=False),
    "inference with a length": _inference(has_length=True),
}
# Those that take a millisecond for each number.
LONG_WAYS: Final[dict[str, Way]] = {
    **{f"{size} bytes": _of_size(size) for size in around(THRESHOLDS) if size > QUICK_BYTES},
}
for ways in (WAYS, LONG_WAYS):
    ways |= {f"{name}, not compiled": _without_compiled_code(way) for name, way in ways.items()}


def each_way(ways: Mapping[str, Way]) -> pytest.MarkDecorator:
    """Run a test for each of these ways."""
    return pytest.mark.parametrize(
        "way", [pytest.param(way, id=name) for name, way in ways.items()]
    )
