"""Requests of the Open Inference Protocol: the pipeline of an operation, with its own formats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

from service.codecs.inference.codec import InferenceCodec
from service.codecs.media_types import BYTES, JSON
from service.errors import MalformedBodyError, quote
from service.http.errors import UnsupportedMediaTypeError
from service.http.negotiation import IDENTITY, choose_coding, coded_reader
from service.pipeline.operation import OperationRequest
from service.pipeline.request import Negotiated
from service.pipeline.service import Service
from service.registry import Op

LENGTH: Final = b"inference-header-content-length"
# The headers that formats are negotiated by, once the media type is one of the two.
INFERENCE_FORMAT_HEADERS: Final = (b"content-encoding", b"accept-encoding", LENGTH)
LONGEST_LENGTH: Final = 18  # digits; more would be beyond 64 bits


@dataclass(frozen=True, slots=True)
class InferenceEndpoint:
    """POST of one version of a model: an operation by one of its strategies."""

    service: Service
    op: Op[Any]
    version: str

    def negotiate(self, headers: Mapping[bytes, bytes]) -> "NegotiatedInference":
        """Return what raw headers settle, or raise the error that is known before the body."""
        _check_media_type(headers.get(b"content-type"))
        length, accepted = _header_bytes(headers.get(LENGTH)), headers.get(b"accept-encoding")
        codec = partial(InferenceCodec, self.version, length, _coding(accepted))
        given = headers.get(b"content-encoding")
        coding = None if given is None else given.decode("latin-1")
        coded_reader(codec(), coding)  # refuses a coding that is not read
        return NegotiatedInference(
            self, codec, coding, tuple(map(headers.get, INFERENCE_FORMAT_HEADERS))
        )


@dataclass(frozen=True, slots=True)
class NegotiatedInference:
    """A model, and the formats of body and answer: what the head of a request settles."""

    endpoint: InferenceEndpoint
    codec: Callable[[], InferenceCodec]
    coding: str | None
    headers: tuple[bytes | None, ...]

    def begin(
        self, request_id: str, length: int = 0, received: bytes | None = None
    ) -> OperationRequest:
        """Return a request with a buffer for a body, as `NegotiatedOperation.begin` does."""
        return OperationRequest(self.once(), request_id, length, received)

    def once(self) -> Negotiated:
        """Return the same for one request: its codec holds what the body says of the answer."""
        endpoint, codec = self.endpoint, self.codec()
        reader, version = coded_reader(codec, self.coding), endpoint.version
        return Negotiated(endpoint.service, endpoint.op, reader, (codec,), self.headers, version)


def _check_media_type(given: bytes | None) -> None:
    """Raise UnsupportedMediaTypeError unless the media type is one of the two, or not stated."""
    if given is None:
        return
    media_type = given.decode("latin-1").partition(";")[0].strip().lower()
    if media_type not in (JSON, BYTES):
        raise UnsupportedMediaTypeError(
            f"Content-Type {quote(media_type)} is not read; send {JSON}, with binary data {BYTES}",
            hint=f"send the header 'Content-Type: {JSON}'",
        )


def _header_bytes(given: bytes | None) -> int | None:
    """Return the stated length of the JSON that the body begins with, if there is one."""
    if given is None:
        return None
    if not given.isdigit() or len(given) > LONGEST_LENGTH:
        raise MalformedBodyError(
            "Inference-Header-Content-Length is a number of bytes; "
            f"it was {quote(given.decode('latin-1'))}"
        )
    return int(given)


@lru_cache(maxsize=64)
def _coding(accepted: bytes | None) -> str | None:
    """Return the content coding of an answer in JSON. Binary data hardly get smaller."""
    coding = IDENTITY if accepted is None else choose_coding(accepted.decode("latin-1"))
    return None if coding == IDENTITY else coding
