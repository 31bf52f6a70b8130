"""Answers as they arrive: chunks of a body in, at its end a value or the error that it is.

No transport is known here.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, nan
from typing import Any, Final, Protocol, TypeVar, cast

from service.client.answers import Answer, Report, Row, Summary
from service.client.arrays import unpack
from service.client.errors import MEDIA_TYPE as PROBLEM
from service.client.errors import AnswerError, UnexpectedAnswerError, problem

JSON: Final = "application/json"
RAW: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"
WORDS: Final = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
QUOTED: Final = 200
Value_co = TypeVar("Value_co", covariant=True)
CachedHead = Mapping[str, str]


class ResponseReader(Protocol[Value_co]):
    """An answer on its way."""

    @property
    def begun(self) -> bool:
        """Whether something of it was handed on, so that to ask again would repeat it."""
        ...

    def feed(self, chunk: bytes) -> Iterable[Row]:
        """Take the next bytes of the body; the rows of a race that they complete."""
        ...

    def value(self) -> Value_co:
        """What the whole body says; an AnswerError if that is no result."""
        ...


class Whole:
    """A body that is read when it is complete, by `read`."""

    begun = False

    def __init__(self, read: Callable[[bytearray, CachedHead], Any], head: CachedHead):
        """`head` are the headers, whose names are in small letters."""
        self._read = read
        self._head = head
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterable[Row]:
        """Keep a chunk."""
        self._chunks.append(chunk)
        return ()

    def value(self) -> Any:
        """What `read` makes of the body."""
        # A bytearray, not bytes: an array over it can be written to.
        return self._read(bytearray().join(self._chunks), self._head)


class Stream:
    """A race's events: rows on the way, the report at the end."""

    def __init__(self, head: CachedHead):
        """Wait for the first event."""
        self._head = head
        self.begun = False
        self._rest = b""
        self._report: Report | None = None

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """The rows that are complete."""
        *events, self._rest = re.split(rb"\r?\n\r?\n", self._rest + chunk)
        for name, data in map(_event, events):
            if name == "row":
                self.begun = True
                yield _document(data)
            elif name == "report":
                self._report = _document(data)
            elif name == "problem":
                self.begun = True
                found = problem(_document(data))
                found.request_id = self._head.get("x-request-id")
                raise found

    def value(self) -> Report:
        """The report."""
        if self._report is None:
            raise UnexpectedAnswerError("the stream ended without a report")
        return self._report


def failure(status: int) -> Callable[[bytearray, CachedHead], AnswerError]:
    """What reads the body of an answer that is no success."""

    def read(body: bytearray, head: CachedHead) -> AnswerError:
        found = _failure(status, body, head)
        found.status = status
        found.request_id = head.get("x-request-id")
        after = head.get("retry-after", "")
        found.wait_s = float(after) if re.fullmatch("[0-9]{1,9}", after) else None
        raise found

    return read


def _failure(status: int, body: bytearray, head: CachedHead) -> AnswerError:
    if _media_type(head) == PROBLEM:
        try:
            return problem({"status": status, **_document(body)})
        except (KeyError, TypeError, ValueError):
            pass
    where = f", Location: {head['location']}" if "location" in head else ""
    return UnexpectedAnswerError(f"the answer is {status}{where}: {_start(body)}")


def document(body: bytearray, head: CachedHead) -> Any:
    """A JSON document as it is."""
    _expect(JSON, body, head)
    return _document(body)


def tensor_like(like: object) -> Callable[[bytearray, CachedHead], Answer[Any]]:
    """What reads bare bytes, with the rest in headers, to an array of the kind of `like`."""

    def read(body: bytearray, head: CachedHead) -> Answer[Any]:
        _expect(RAW, body, head)
        try:
            dtype, sizes = head["x-tensor-dtype"], head["x-tensor-shape"]
            shape = tuple(map(int, sizes.split(","))) if sizes else ()
            envelope = json.loads(head["x-envelope"])
        except (KeyError, ValueError) as error:
            raise UnexpectedAnswerError(
                f"the answer's headers do not describe it: {error!r}"
            ) from None
        return Answer(unpack(body, dtype, shape, like), dtype, shape, envelope)

    return read


def lists(body: bytearray, head: CachedHead) -> Answer[Any]:
    """A JSON answer, its data as nested lists of numbers; complex numbers are pairs."""
    return _answer(document(body, head), lambda result: _numbers(result["data"]))


def summary(body: bytearray, head: CachedHead) -> Answer[Summary]:
    """A JSON answer that has a summary for a result."""
    return _answer(document(body, head), lambda result: cast(Summary, result["summary"]))


def _answer(fields: dict[str, Any], take: Callable[[dict[str, Any]], Any]) -> Answer[Any]:
    try:
        result = fields.pop("result")
        return Answer(take(result), result["dtype"], tuple(result["shape"]), cast(Any, fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswerError(f"the answer holds no such result: {error!r}") from None


def _numbers(data: Any) -> Any:
    """Numbers for the words of JSON: what is not finite, and integers that are long."""
    if isinstance(data, list):
        return [_numbers(each) for each in data]
    if isinstance(data, str):
        return WORDS[data] if data in WORDS else int(data)
    return data


def _event(block: bytes) -> tuple[str, bytes]:
    """Name and data of an event; a comment has neither."""
    lines = [line.partition(b":") for line in block.splitlines()]
    named = {name: value.removeprefix(b" ") for name, _, value in lines}
    data = b"\n".join(value.removeprefix(b" ") for name, _, value in lines if name == b"data")
    return named.get(b"event", b"").decode(), data


def _document(text: bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UnexpectedAnswerError(f"the answer is no JSON: {_start(text)}") from None


def _expect(media_type: str, body: bytearray, head: CachedHead) -> None:
    if _media_type(head) != media_type:
        raise UnexpectedAnswerError(
            f"the answer is {_media_type(head) or 'of no media type'}, not {media_type}: "
            f"{_start(body)}"
        )


def _media_type(head: CachedHead) -> str:
    return head.get("content-type", "").partition(";")[0].strip().lower()


def _start(body: bytes | bytearray) -> str:
    """How the body begins, for a message."""
    return repr(bytes(body[:QUOTED]).decode("utf-8", "replace"))
