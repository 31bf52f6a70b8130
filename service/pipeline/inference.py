"""POST .../infer: the exchange of an own route, with the protocol's bodies and its errors."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter_ns
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.api.asgi import whole_exchange
from service.codecs.inference.codec import Inference
from service.codecs.media_types import BYTES, JSON
from service.errors import MalformedBodyError, ServiceError, quote
from service.http.errors import UnsupportedMediaTypeError
from service.http.negotiation import IDENTITY, choose, coded_reader
from service.http.response import HttpResponse, send_reply
from service.observability.counters import OK
from service.observability.inference_stats import Record
from service.observability.tracing import describe_call
from service.pipeline.request import Negotiated, OperationRequest, Room
from service.pipeline.service import Service
from service.registry import Op

# What formats are agreed on by, once the media type is known to be one of the two.
NEGOTIATED: Final = (b"content-encoding", b"accept-encoding", b"inference-header-content-length")
LENGTH: Final = b"inference-header-content-length"
LONGEST_LENGTH: Final = 18  # digits; more would be beyond 64 bits


@dataclass(frozen=True, slots=True)
class InferEndpoint:
    """One version of a model. It is used as `service.api.compute.Endpoint` is."""

    service: Service
    op: Op[Any]
    version: str
    records: Mapping[str, Record]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST as an ASGI app."""
        started, state = perf_counter_ns(), scope["state"]
        try:
            exchange = self.terms(dict(scope["headers"])).begin(state["request_id"])
            state["exchange"] = exchange  # for what is told of it afterwards
            reply = await whole_exchange(exchange, scope, receive)
        except ClientDisconnect:
            raise
        except Exception:
            self.records[self.version].refuse(perf_counter_ns() - started)
            raise  # the shell words it
        describe_call(exchange)
        await send_reply(reply, send)

    def terms(self, headers: Mapping[bytes, bytes]) -> "InferTerms":
        """What these raw headers settle, or the error that is known before the body is read."""
        _check_media_type(headers.get(b"content-type"))
        length, accepted = _header_bytes(headers.get(LENGTH)), headers.get(b"accept-encoding")
        form = partial(Inference, self.version, length, _coding(accepted))
        given = headers.get(b"content-encoding")
        packed = None if given is None else given.decode("latin-1")
        coded_reader(form(), packed)  # refuses what is not read
        return InferTerms(self, form, packed, tuple(map(headers.get, NEGOTIATED)))


@dataclass(frozen=True, slots=True)
class InferTerms:
    """What the head of a request settles. It is used as `service.pipeline.request.Terms` is."""

    endpoint: InferEndpoint
    form: Callable[[], Inference]
    packed: str | None
    agreed: tuple[bytes | None, ...]

    @property
    def max_body_bytes(self) -> int:
        """The most bytes of a body."""
        return self.endpoint.service.settings.max_body_bytes

    def begin(self, request_id: str) -> "InferenceOperationRequest":
        """One request on these terms; a BusyError while none is taken."""
        self.endpoint.service.check_ready()
        return InferenceOperationRequest(self.endpoint.records, self.once(), request_id)

    def once(self) -> Negotiated:
        """The terms of one request: its format is made for it."""
        endpoint, form = self.endpoint, self.form()
        reader, version = coded_reader(form, self.packed), endpoint.version
        return Negotiated(endpoint.service, endpoint.op, reader, (form,), self.agreed, version)


class InferenceOperationRequest(OperationRequest):
    """One request on its way through, which is counted."""

    __slots__ = ("_records", "_started_ns")

    def __init__(self, records: Mapping[str, Record], terms: Negotiated, request_id: str):
        """Begin, before the body is received."""
        super().__init__(terms, request_id)
        self._records = records
        self._started_ns = 0

    def respond(self, body: Room, query: bytes) -> HttpResponse | Awaitable[HttpResponse]:
        """The answer to a whole body: at once if it is small, else when a lane is done with it."""
        self._started_ns = perf_counter_ns()
        reply = super().respond(body, query)
        return self._answered(reply) if isinstance(reply, HttpResponse) else self._later(reply)

    async def _later(self, coming: Awaitable[HttpResponse]) -> HttpResponse:
        return self._answered(await coming)

    def refused(self, error: ServiceError) -> HttpResponse:
        """The reply to a call that ended in this error, in the protocol's form."""
        self._count_refusal()
        return super().refused(error)

    def _answered(self, reply: HttpResponse) -> HttpResponse:
        if reply.status == OK:
            strategy = self.strategy or self.planned.strategy.name
            elapsed_ns = perf_counter_ns() - self._started_ns
            self._records[strategy].succeed(self.watch.timings, elapsed_ns)
        else:  # a worker process has refused it
            self._count_refusal()
        return reply

    def _count_refusal(self) -> None:
        elapsed_ns = perf_counter_ns() - self._started_ns
        self._records[self.terms.version].refuse(elapsed_ns)


def _check_media_type(given: bytes | None) -> None:
    """Raise UnsupportedMediaTypeError for what is stated to be something else than the two."""
    if given is None:
        return
    media_type = given.decode("latin-1").partition(";")[0].strip().lower()
    if media_type not in (JSON, BYTES):
        raise UnsupportedMediaTypeError(
            f"Content-Type {quote(media_type)} is not read; send {JSON}, with binary data {BYTES}",
            hint=f"send the header 'Content-Type: {JSON}'",
        )


def _header_bytes(given: bytes | None) -> int | None:
    """How long the JSON of the body is, if the request says so."""
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
    """The content coding of an answer in JSON. Binary data hardly get smaller."""
    coding = IDENTITY if accepted is None else choose(accepted.decode("latin-1"))
    return None if coding == IDENTITY else coding
