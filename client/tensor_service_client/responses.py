"""Readers of responses: they take chunks of a body, and end in a value or an error.

They do no input or output.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, nan
from typing import Any, Final, Protocol, TypeVar

from tensor_service_client.answers import (
    Answer,
    ChainAnswer,
    ChainEnvelope,
    Envelope,
    Gradient,
    Gradients,
    Summary,
)
from tensor_service_client.arrays import unpack
from tensor_service_client.errors import MEDIA_TYPE as PROBLEM
from tensor_service_client.errors import AnswerError, UnexpectedAnswerError
from tensor_service_client.problems import problem
from tensor_service_client.races import Report, Row

JSON: Final = "application/json"
RAW: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"
WORDS: Final = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
QUOTED: Final = 200
Value_co = TypeVar("Value_co", covariant=True)
Made = TypeVar("Made")
Headers = Mapping[str, str]


class ResponseReader(Protocol[Value_co]):
    """Reader of a response that arrives in chunks."""

    @property
    def begun(self) -> bool:
        """True if a part was passed on, which another try would repeat."""
        ...

    def feed(self, chunk: bytes) -> Iterable[Row]:
        """Take the next bytes of the body, and return the rows of a race that they complete."""
        ...

    def value(self) -> Value_co:
        """Return the value of the complete body, or raise an AnswerError."""
        ...


class BodyReader:
    """Reader of a body that `read` parses when it is complete."""

    begun = False

    def __init__(self, read: Callable[[bytearray, Headers], Any], headers: Headers):
        """Names in `headers` are in lower case."""
        self._read = read
        self._headers = headers
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterable[Row]:
        """Store a chunk."""
        self._chunks.append(chunk)
        return ()

    def value(self) -> Any:
        """Return the value that `read` finds in the body."""
        # A bytearray, not bytes, so that an array over it is writable.
        return self._read(bytearray().join(self._chunks), self._headers)


class EventReader:
    """Reader of the events of a race: rows as they arrive, the report at the end."""

    def __init__(self, headers: Headers):
        """Start before the first event."""
        self._headers = headers
        self.begun = False
        self._unread = b""
        self._report: Report | None = None

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """Yield the rows that are complete."""
        *events, self._unread = re.split(rb"\r?\n\r?\n", self._unread + chunk)
        for name, data in map(_event, events):
            if name == "row":
                self.begun = True
                yield _typed(Row, _document(data))
            elif name == "report":
                self._report = _typed(Report, _document(data))
            elif name == "problem":
                self.begun = True
                found = problem(_document(data))
                found.request_id = self._headers.get("x-request-id")
                raise found

    def value(self) -> Report:
        """Return the report."""
        if self._report is None:
            raise UnexpectedAnswerError("the stream ended without a report")
        return self._report


def failure(status: int) -> Callable[[bytearray, Headers], AnswerError]:
    """Return the parser of a response that is not a success; it raises an AnswerError."""

    def read(body: bytearray, headers: Headers) -> AnswerError:
        found = _failure(status, body, headers)
        found.status = status
        found.request_id = headers.get("x-request-id")
        after = headers.get("retry-after", "")
        found.wait_s = float(after) if re.fullmatch("[0-9]{1,9}", after) else None
        raise found

    return read


def _failure(status: int, body: bytearray, headers: Headers) -> AnswerError:
    """Return the error of a response."""
    if _media_type(headers) == PROBLEM:
        try:
            return problem({"status": status, **_document(body)})
        except (KeyError, TypeError, ValueError):
            pass
    where = f", Location: {headers['location']}" if "location" in headers else ""
    return UnexpectedAnswerError(f"the answer is {status}{where}: {_start(body)}")


def document(body: bytearray, headers: Headers) -> Any:
    """Parse a JSON document."""
    _expect(JSON, body, headers)
    return _document(body)


def document_of(make: Callable[[Any], Made]) -> Callable[[bytearray, Headers], Made]:
    """Return the parser of a JSON document, to the type that `make` returns."""
    return lambda body, headers: _typed(make, document(body, headers))


def tensor_like(like: object) -> Callable[[bytearray, Headers], Answer[Any]]:
    """Return the parser of a body of bare bytes, to an array of the kind of `like`.

    The rest of the answer is in headers.
    """

    def read(body: bytearray, headers: Headers) -> Answer[Any]:
        _expect(RAW, body, headers)
        try:
            dtype, sizes = headers["x-tensor-dtype"], headers["x-tensor-shape"]
            shape = tuple(map(int, sizes.split(","))) if sizes else ()
            envelope = Envelope(json.loads(headers["x-envelope"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswerError(
                f"the answer's headers do not describe it: {error!r}"
            ) from None
        return Answer(unpack(body, dtype, shape, like), dtype, shape, envelope)

    return read


def lists(body: bytearray, headers: Headers) -> Answer[Any]:
    """Parse a JSON answer with nested lists of numbers; complex numbers are pairs."""
    return _answer(document(body, headers), lambda result: _numbers(result["data"]))


def summary(body: bytearray, headers: Headers) -> Answer[Summary]:
    """Parse a JSON answer whose result is a summary."""
    return _answer(document(body, headers), lambda result: Summary(result["summary"]))


def gradients_like(like: object) -> Callable[[bytearray, Headers], Gradients[Any]]:
    """Return the parser of gradients, to arrays of the kind of `like`, or to lists."""

    def gradient(fields: dict[str, Any]) -> Gradient[Any]:
        result = fields["result"]
        texts = (fields[name] for name in ("equation", "explanation", "reproduce", "strategy"))
        shape = tuple(result["shape"])
        return Gradient(_tensor(result, like), result["dtype"], shape, *texts)

    def read(body: bytearray, headers: Headers) -> Gradients[Any]:
        fields = document(body, headers)
        try:
            found = fields.pop("gradients")
            by_operand = {name: gradient(each) for name, each in found.items()}
            return Gradients(fields["equation"], by_operand, Envelope(fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswerError(f"the answer holds no gradients: {error!r}") from None

    return read


def chain_results(like: object) -> Callable[[bytearray, Headers], ChainAnswer]:
    """Return the parser of an answer to a chain, to arrays of the kind of `like`, or to lists."""

    def read(body: bytearray, headers: Headers) -> ChainAnswer:
        fields = document(body, headers)
        try:
            results = [_tensor(each, like) for each in fields.pop("results").values()]
            return ChainAnswer(results, ChainEnvelope(fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswerError(f"the answer holds no such results: {error!r}") from None

    return read


def _answer(fields: dict[str, Any], take: Callable[[dict[str, Any]], Any]) -> Answer[Any]:
    """Return the answer in a document; `take` extracts its result."""
    try:
        result = fields.pop("result")
        return Answer(take(result), result["dtype"], tuple(result["shape"]), Envelope(fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswerError(f"the answer holds no such result: {error!r}") from None


def _tensor(result: dict[str, Any], like: object) -> Any:
    """Return a tensor of a document: of base64 an array of the kind of `like`, else lists."""
    if like is None:
        return _numbers(result["data"])
    # A bytearray, so that an array over it is writable.
    data = bytearray(b64decode(result["b64"], validate=True))
    return unpack(data, result["dtype"], tuple(result["shape"]), like)


def _numbers(data: Any) -> Any:
    """Replace strings by numbers that JSON does not have: NaN, infinities and long integers."""
    if isinstance(data, list):
        return [_numbers(each) for each in data]
    if isinstance(data, str):
        return WORDS[data] if data in WORDS else int(data)
    return data


def _event(block: bytes) -> tuple[str, bytes]:
    """Return name and data of an event; both are empty for a comment."""
    lines = [line.partition(b":") for line in block.splitlines()]
    named = {name: value.removeprefix(b" ") for name, _, value in lines}
    data = b"\n".join(value.removeprefix(b" ") for name, _, value in lines if name == b"data")
    return named.get(b"event", b"").decode(), data


def _document(text: bytes | bytearray) -> Any:
    """Parse JSON text."""
    try:
        return json.loads(text)
    except ValueError:
        raise UnexpectedAnswerError(f"the answer is no JSON: {_start(text)}") from None


def _typed(make: Callable[[Any], Made], fields: Any) -> Made:
    """Return a JSON value as the type that `make` returns."""
    try:
        return make(fields)
    except (TypeError, ValueError) as error:
        raise UnexpectedAnswerError(f"the answer has another structure: {error}") from None


def _expect(media_type: str, body: bytearray, headers: Headers) -> None:
    """Raise an UnexpectedAnswerError unless the response has the media type."""
    if _media_type(headers) != media_type:
        raise UnexpectedAnswerError(
            f"the answer is {_media_type(headers) or 'of no media type'}, not {media_type}: "
            f"{_start(body)}"
        )


def _media_type(headers: Headers) -> str:
    """Return the media type without parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _start(body: bytes | bytearray) -> str:
    """Return the beginning of the body, for a message."""
    return repr(bytes(body[:QUOTED]).decode("utf-8", "replace"))
