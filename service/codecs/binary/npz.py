"""npz bodies: a zip archive with one npy file for each operand, as numpy.savez writes it."""

import zlib
from collections.abc import Mapping
from typing import Any, Final

from service.codecs.base import NO_FIELDS, UNBOUNDED_BYTES, Body, Buffer, Reading
from service.codecs.binary.archive import STORED, Member, read_members
from service.codecs.binary.npy_header import read_span
from service.codecs.binary.slices import TensorSlice, call_on
from service.codecs.compression import DEFLATE, zlib_pieces
from service.codecs.request import MAX_OPERANDS
from service.core.call import Call
from service.errors import BodyTooLargeError, MalformedBodyError, quote
from service.registry import Op

SUFFIX: Final = ".npy"


class NpzCodec:
    """application/x-npz, read only."""

    media_type: Final = "application/x-npz"
    # Never in the event loop: a few bytes may inflate to all that is allowed.
    thread_bytes: Final = UNBOUNDED_BYTES

    def try_decode(self, *_: object) -> Call | None:
        """Nothing: what is in an archive takes as long as it likes."""
        return None

    def decode(
        self, body: Body, op: Op[Any], reading: Reading, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """The call on the members of a body, whose names are those of the operands."""
        members = read_members(body, most=MAX_OPERANDS)
        total = sum(member.size for member in members)
        if total > reading.max_body_bytes:
            raise BodyTooLargeError(
                f"the body may have {reading.max_body_bytes} bytes (SERVICE_MAX_BODY_BYTES), and "
                f"its members inflate to {total}"
            )
        spans: dict[str, tuple[TensorSlice, Buffer]] = {}
        for member in members:
            name = member.name.removesuffix(SUFFIX)
            if name == member.name:
                raise MalformedBodyError(f"the member {quote(name)} is no npy file by its name")
            spans[name] = _read_member(body, member)
        return call_on(spans, op, reading, query)


def _read_member(body: Body, member: Member) -> tuple[TensorSlice, Buffer]:
    """The tensor of a member, and the buffer it lies in: the body's own if it is stored there."""
    packed = memoryview(body)[member.start : member.start + member.packed]
    file = packed if member.method == STORED else _inflate(packed, member)
    name = quote(member.name)
    if zlib.crc32(file) != member.checksum:
        raise MalformedBodyError(f"the checksum of {name} is not that of its bytes")
    return read_span(file, f"the member {name}"), file


def _inflate(packed: memoryview, member: Member) -> memoryview:
    """The bytes of a deflated member, which are as many as the directory says."""
    inflated = memoryview(bytearray(member.size))
    name = quote(member.name)
    position = 0
    for piece in zlib_pieces(packed, DEFLATE, f"the member {name} is not deflated"):
        end = position + len(piece)
        if end > member.size:
            break
        inflated[position:end] = piece
        position = end
    else:
        if position == member.size:
            return inflated
    raise MalformedBodyError(f"{name} does not inflate to {member.size} bytes")
