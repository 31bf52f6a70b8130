"""Text of a request that is read while it arrives."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from service.codecs import number_text
from service.codecs.base import NO_FIELDS, Body, DecodeContext
from service.codecs.number_text import Extracted, OperandNames
from service.core.call import Call
from service.registry import Op

if TYPE_CHECKING:
    from service.codecs.number_text._compiled import Reading


class TextCodec(Protocol):
    """A codec of text whose arrays of numbers have been extracted."""

    def decode_extracted(
        self,
        body: Body,
        extracted: Extracted | None,
        op: Op[Any],
        context: DecodeContext,
        query: Mapping[str, str],
    ) -> Call:
        """Return the call of a body, as `Reader.decode`; `extracted` is None if it is not plain."""
        ...


class ArrivingText:
    """The `Reading` of a body in one format."""

    __slots__ = ("_buffer", "_codec", "_op", "_reading", "feed", "stop")

    def __init__(self, codec: TextCodec, buffer: bytearray, op: Op[Any], reading: "Reading"):
        """Wrap the `reading` of the numbers in `buffer`."""
        self._codec, self._buffer, self._op, self._reading = codec, buffer, op, reading
        self.feed, self.stop = reading.feed, reading.stop

    def decode(self, context: DecodeContext, query: Mapping[str, str] = NO_FIELDS) -> Call:
        """Return the call of the whole body, as `Reader.decode` does."""
        extracted = self._reading.finish()
        return self._codec.decode_extracted(self._buffer, extracted, self._op, context, query)


def begin_text(
    codec: TextCodec,
    buffer: bytearray,
    op: Op[Any],
    operands: OperandNames,
    context: DecodeContext,
) -> ArrivingText | None:
    """Return the reading of a body that arrives in `buffer`; None without compiled code."""
    reading = number_text.begin(buffer, operands, max_numbers=context.max_numbers)
    return None if reading is None else ArrivingText(codec, buffer, op, reading)
