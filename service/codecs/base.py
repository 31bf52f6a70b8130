"""Protocols of the formats, and the limits that a body is decoded within."""

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch

from service.core.call import Call, Outcome, Output, Stored, StoreTarget
from service.core.dtypes import DTYPES, Dtype
from service.core.response import HttpResponse
from service.core.timing import Stopwatch
from service.registry import Op, Param

Text = bytes | bytearray
Body = Text | memoryview
Buffer = Body | mmap  # of a body, or of what a part of it inflates to
# Python's recursion limit is 1000.
MAX_NESTING: Final = 500
ALL_DTYPES: Final = frozenset(dtype.torch for dtype in DTYPES.values())
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
# Tensors as bytes of this size take as long to decode as to be handed to a thread: 0.2 ms.
SHORT_BYTES: Final = 2**20
# Plain text of this length takes 1 ms to decode; any other holds the GIL for 20.
THREAD_TEXT_BYTES: Final = 2**20
UNBOUNDED_BYTES: Final = 2**62
# More elements than any shape can state: 16 axes of 64 bits.
UNLIMITED_ELEMENTS: Final = 2**1100  # of formats whose elements are not read


class SlowTextError(Exception):
    """Text is too long to be read in this process, where that would hold the GIL."""


class Arrays(Protocol):
    """Stored arrays: operands by reference, and targets of results."""

    def find(self, name: object, pointer: str) -> Stored:
        """Return the array of that name; raise ArrayUnavailableError if there is none."""
        ...

    def store_target(self, name: object, pointer: str, *, overwrite: bool) -> StoreTarget:
        """Return the target that stores a result under that name.

        Raises ArrayExistsError if the name is taken and `overwrite` is false, and
        ArrayUnavailableError if no result can be stored there.
        """
        ...


# One for each route, hashed by identity.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodeContext:
    """Limits that a body is decoded within, and the dtype of operands that state none.

    `has_outputs` is that of the response's format. `params` are fields of the route, beside those
    of the operation. With `shapes` a call has the shapes of its operands and no elements. `arrays`
    are the stored arrays, if the service has a folder of them. With `exact` the numbers of JSON are
    read by their text, where float64 is not enough to round them to their dtype. Text of more than
    `max_slow_bytes` is not read where that would hold the GIL.
    """

    max_elements: int
    dtype: Dtype
    max_deadline_ms: int
    max_rank: int = 16
    max_nesting: int = 64
    max_body_bytes: int = 2**27
    has_outputs: bool = True
    params: tuple[Param, ...] = ()
    shapes: bool = False
    arrays: Arrays | None = None
    exact: bool = False
    max_slow_bytes: int = UNBOUNDED_BYTES

    @property
    def max_numbers(self) -> int:
        """Numbers that an array may have: complex elements have two."""
        return 2 * self.max_elements

    def __post_init__(self) -> None:
        """Raise ValueError for a nesting that would reach Python's recursion limit."""
        if self.max_nesting > MAX_NESTING:
            raise ValueError(
                f"max_nesting is {self.max_nesting}; at most {MAX_NESTING} can be read"
            )


class Reading(Protocol):
    """A body that is read while it arrives."""

    def feed(self, end: int, /) -> None:
        """Read on: the bytes before `end` have arrived."""
        ...

    def decode(self, context: DecodeContext, query: Mapping[str, str] = NO_FIELDS) -> Call:
        """Return the call of the whole body, as `Reader.decode` does."""
        ...

    def stop(self) -> None:
        """Read no more, and let go of the buffer."""
        ...


class WholeReader:
    """Base of readers that begin when the body is whole."""

    __slots__ = ()

    def begin(self, buffer: bytearray, op: Op[Any], context: DecodeContext) -> None:
        """Return None."""


class Reader(Protocol):
    """Decoder of request bodies in one format."""

    @property
    def media_type(self) -> str:
        """The media type of the bodies."""
        ...

    @property
    def thread_bytes(self) -> int:
        """The greatest size that may be decoded in the event loop."""
        ...

    def begin(self, buffer: bytearray, op: Op[Any], context: DecodeContext) -> Reading | None:
        """Return the reading of a body that arrives in `buffer`; None if it is read when whole."""
        ...

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """Return the call like `decode`, or None if that could take more than a millisecond or two.

        It is called in the event loop; if it returns None, `decode` is called on a thread. Raises
        the same errors as `decode`.
        """
        ...

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Return the call of a body; raise a ServiceError if it has an error.

        `query` has the fields of the query string. Formats that hold tensors alone have all other
        fields there; a JSON request may have fields in both. Raises SlowTextError for text that
        another process has to read.
        """
        ...


class Writer(Protocol):
    """Encoder of responses in one format."""

    @property
    def media_type(self) -> str:
        """The media type of the responses."""
        ...

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """The dtypes that the format can hold."""
        ...

    @property
    def element_ns(self) -> int:
        """Approximate time to write an element; 0 if the elements are sent as they are."""
        ...

    @property
    def has_outputs(self) -> bool:
        """True if the field `output` chooses among forms of the result."""
        ...

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Return the whole response.

        The result is encoded first. Then the stopwatch is stopped, because the response around the
        result has its phases.
        """
        ...
