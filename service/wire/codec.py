"""What a format offers to its callers, and the limits that a body is read within."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from service.call import Call, Outcome, Tensor
from service.dtypes import Dtype
from service.registry import Op, Param
from service.timing import Timings

Body = bytes | bytearray
# Bytes that are sent one after the other: joining them would copy megabytes.
Chunks = tuple[bytes | memoryview, ...]
DEEPEST: Final = 500
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Limits that a body is read within, and the dtype of arrays that state none."""

    max_elements: int
    dtype: Dtype
    max_deadline_ms: int
    max_rank: int = 16
    max_nesting: int = 64
    params: tuple[Param, ...] = ()
    shapes: bool = False

    def __post_init__(self) -> None:
        """Refuse a nesting that would meet Python's own recursion limit of 1000."""
        if self.max_nesting > DEEPEST:
            raise ValueError(f"max_nesting is {self.max_nesting}; at most {DEEPEST} can be read")


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer in its final bytes, and its headers."""

    chunks: Chunks
    headers: tuple[tuple[bytes, bytes], ...]


class Codec(Protocol):
    """One format. The dear part of an answer is its own verb, so that its time can be told in it.

    payload = codec.result(outcome.result, call.output)   # timed: this is the encode phase
    encoded = codec.answer(outcome, payload, timings, request_id)
    """

    @property
    def media_type(self) -> str:
        """The media type of its bodies."""
        ...

    def decode(
        self, body: Body, op: Op[Any], reading: Reading, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """The call that a body asks for; a ServiceError says why there is none.

        Formats that hold tensors only take the other fields from `query`, the URL's.
        """
        ...

    def result(self, tensor: Tensor, output: str) -> Chunks:
        """The result in its final bytes, which `answer` needs not look into."""
        ...

    def answer(
        self, outcome: Outcome, payload: Chunks, timings: Timings, request_id: str
    ) -> Encoded:
        """The whole answer around a `payload` that `result` made."""
        ...
