"""What a format offers to its callers, and the limits that a body is read within."""

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
DEEPEST: Final = 500
ALL_DTYPES: Final = frozenset(dtype.torch for dtype in DTYPES.values())
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
# Decoding this much of tensors as bytes takes about as long as a hop to a thread: 0.2 ms.
SHORT_BYTES: Final = 2**20
# Text of this length keeps the GIL for 2 ms; tensors as bytes are not read at all.
THREAD_TEXT_BYTES: Final = 2**20
UNBOUNDED_BYTES: Final = 2**62


class Arrays(Protocol):
    """Arrays that operands refer to by name, and that results are kept as."""

    def find(self, name: object, pointer: str) -> Stored:
        """The array of that name, or an ArrayUnavailableError."""
        ...

    def keep(self, name: object, pointer: str, *, overwrite: bool) -> StoreTarget:
        """The output that a result is kept in, or the error that says why it cannot."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # one for each route: known by itself
class DecodeContext:
    """Limits that a body is read within, and the dtype of arrays that state none.

    `has_outputs` is that of the answer's format: whether a request may choose one.
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

    def __post_init__(self) -> None:
        """Refuse a nesting that would meet Python's own recursion limit of 1000."""
        if self.max_nesting > DEEPEST:
            raise ValueError(f"max_nesting is {self.max_nesting}; at most {DEEPEST} can be read")


class Reader(Protocol):
    """The format of a request's body."""

    @property
    def media_type(self) -> str:
        """The media type of its bodies."""
        ...

    @property
    def thread_bytes(self) -> int:
        """Larger bodies would keep the GIL for milliseconds while they are decoded."""
        ...

    def try_decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call | None:
        """The call, if it can be told within a millisecond or two: the event loop waits.

        None leaves the body to `decode`, on a thread. Raises what `decode` raises.
        """
        ...

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """The call that a body asks for; a ServiceError says why there is none.

        Formats that hold tensors only take the other fields from `query`, the URL's; JSON may.
        """
        ...


class Writer(Protocol):
    """The format of an answer."""

    @property
    def media_type(self) -> str:
        """The media type of its answers."""
        ...

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """The dtypes that it can hold."""
        ...

    @property
    def element_ns(self) -> int:
        """About what an element takes to be written; 0 if nothing is done to each."""
        ...

    @property
    def has_outputs(self) -> bool:
        """Whether `output` chooses among forms of the result."""
        ...

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Return the whole answer.

        The result is encoded first; then the watch is stopped, and the answer that states its
        phases is put around the encoded result.
        """
        ...
