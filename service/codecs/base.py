"""What a format offers to its callers, and the limits that a body is read within."""

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch

from service.core.call import Call, Outcome, Output, Stored, StoreTarget, Tensor
from service.core.dtypes import DTYPES, Dtype
from service.core.timing import Timings
from service.registry import Op, Param

Text = bytes | bytearray
Body = Text | memoryview
Buffer = Body | mmap  # of a body, or of what a part of it inflates to
# Bytes that are sent one after the other: joining them would copy megabytes.
Chunks = tuple[bytes | memoryview, ...]
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


@dataclass(slots=True)
class Encoded:
    """An answer in its final bytes, and its headers."""

    chunks: Chunks
    headers: tuple[tuple[bytes, bytes], ...]


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
    """The format of an answer. Its dear part is its own verb, so that its time can be told in it.

    payload = writer.result(outcome.result, call.output)   # timed: this is the encode phase
    encoded = writer.answer(outcome, payload, timings, request_id)
    """

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

    def result(self, tensor: Tensor, output: Output) -> Chunks:
        """The result in its final bytes, which `answer` needs not look into."""
        ...

    def answer(
        self, outcome: Outcome, payload: Chunks, timings: Timings, request_id: str
    ) -> Encoded:
        """The whole answer around a `payload` that `result` made."""
        ...
