"""A request on its way to a worker process and back, as JSON beside the bytes of its bodies."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from service.api.replies import Reply
from service.rates import Row
from service.timing import Stopwatch

TEXT: Final = "latin-1"  # of headers: each byte is a letter


@dataclass(frozen=True, slots=True)
class Admitted:
    """What has been planned for a call already: nothing but its strategy, device and estimate."""

    strategy: str
    device: str
    estimated_ns: int


@dataclass(frozen=True, slots=True)
class Contest:
    """That a race is asked for: whether to tell each row, and what the server has measured."""

    tells: bool
    rates: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know of a request beside its body.

    `headers` are those that formats are agreed on by; `watch` is the reading of its stopwatch. The
    `version` is that of a model of the Open Inference Protocol, where that protocol is spoken.
    """

    op: str
    headers: Sequence[str | None]
    query: str
    request_id: str
    watch: Sequence[int]
    version: str = ""
    admitted: Admitted | None = None
    contest: Contest | None = None

    def to_json(self) -> bytes:
        """The bytes that `from_json` reads."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> "Task":
        """The task that `to_json` wrote."""
        fields = orjson.loads(text)
        for name, kind in (("admitted", Admitted), ("contest", Contest)):
            if fields[name] is not None:
                fields[name] = kind(**fields[name])
        return cls(**fields)


def texts_of(values: Iterable[bytes | None]) -> list[str | None]:
    """Values of headers as texts, which JSON has; None where the request has no such header."""
    return [None if value is None else value.decode(TEXT) for value in values]


def headers_from(names: Sequence[bytes], texts: Sequence[str | None]) -> dict[bytes, bytes]:
    """The headers of those names, from what `texts_of` gave."""
    pairs = zip(names, texts, strict=True)
    return {name: value.encode(TEXT) for name, value in pairs if value is not None}


def head_of(reply: Reply, watch: Stopwatch, strategy: str) -> bytes:
    """All of a reply but its body, and how it came about, as the bytes that `reply_of` reads."""
    headers = [(name.decode(TEXT), value.decode(TEXT)) for name, value in reply.headers]
    return orjson.dumps([reply.status, headers, watch.reading, strategy])


def reply_of(head: bytes | bytearray, payload: bytearray) -> tuple[Reply, Stopwatch, str]:
    """The reply that was sent as a head and a payload; the worker's stopwatch, and its strategy."""
    status, headers, reading, strategy = orjson.loads(head)
    raw = tuple((name.encode(TEXT), value.encode(TEXT)) for name, value in headers)
    return Reply(status, raw, (memoryview(payload),)), Stopwatch.resume(reading), strategy
