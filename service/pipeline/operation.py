"""Requests of an operation: its endpoint, and its pipeline from the whole body to the response."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.core.arithmetic import computing
from service.core.call import Call
from service.core.response import HttpResponse
from service.http.negotiation import FORMAT_HEADERS, formats, writer_for
from service.pipeline.dispatch import INLINE_NS, dispatch
from service.pipeline.messages import Admitted
from service.pipeline.planned import PlannedRequest
from service.pipeline.request import Buffer, Negotiated
from service.pipeline.service import Service
from service.planning.plan import Plan
from service.registry import Op


@dataclass(frozen=True, slots=True)
class OperationEndpoint:
    """POST of an operation."""

    service: Service
    op: Op[Any]

    def negotiate(self, headers: Mapping[bytes, bytes]) -> "NegotiatedOperation":
        """Return what raw headers settle, or raise the error that is known before the body."""
        given = tuple(map(headers.get, FORMAT_HEADERS))
        return NegotiatedOperation(self.service, self.op, *formats(headers), headers=given)


@dataclass(frozen=True, slots=True)
class NegotiatedOperation(Negotiated):
    """Operation and formats that the head of a request settles."""

    def begin(
        self, request_id: str, length: int = 0, received: bytes | None = None
    ) -> "OperationRequest":
        """Return a request with a buffer for a body of `length` bytes, or with a `received` one.

        BusyError while no requests are taken, BodyTooLargeError, OverloadedError,
        OutOfMemoryError.
        """
        return OperationRequest(self, request_id, length, received)


class OperationRequest(PlannedRequest[Plan]):
    """A request of an operation."""

    __slots__ = ()

    def respond(self, body: Buffer, query: bytes) -> HttpResponse | Awaitable[HttpResponse]:
        """Return the response to a whole body: at once if it is a short call, else to be awaited.

        A ServiceError is raised, or awaited. Every small request passes here: nothing is called
        that can be done without.
        """
        self.start(body, query)
        negotiated, service = self.negotiated, self.service
        reader = negotiated.reader
        if self.may_wait or self.reading is not None or len(body) > reader.thread_bytes:
            return dispatch(self)
        writer = negotiated.writers[0]
        context = service.context if writer.has_outputs else service.binary_context
        call = self.call = reader.try_decode(body, negotiated.op, context, self.fields)
        if call is None:
            return dispatch(self)
        plan = service.engine.prepare(call)
        if plan is None:
            return dispatch(self)
        self.plan, self.strategy = plan, plan.strategy.name
        if plan.inferred.dtype not in writer.dtypes:
            writer = writer_for(negotiated.writers, plan.inferred.dtype)
        self.writer = writer
        self.is_prepared = True
        time_ns = plan.estimated_ns + plan.sizes.elements * writer.element_ns
        if time_ns > INLINE_NS or plan.is_elsewhere:
            return dispatch(self)
        outcome = service.engine.run(call, plan, self.watch)
        return writer.encode(outcome, call.output, self.watch, self.request_id)

    @property
    def encode_ns(self) -> int:
        """Estimated time of encoding the result."""
        return self.plan.sizes.elements * self.writer.element_ns

    @property
    def admitted(self) -> Admitted:
        """The plan as it is told to other processes."""
        return Admitted.of(self.plan)

    def prepare(self) -> None:
        """Decode the body if that is left to do, and plan the call."""
        if self.call is None:
            self.call = self.decode_call()
        self._accept(self.service.engine.plan(self.call))

    def _accept(self, plan: Plan) -> None:
        """Go on with an admitted plan, if a format of the answer holds the dtype of its result."""
        self.plan, self.strategy = plan, plan.strategy.name
        self.writer = writer_for(self.negotiated.writers, plan.inferred.dtype)
        self.is_prepared = True

    def prepare_admitted(self, call: Call, admitted: Admitted) -> None:
        """Plan the call as another process has."""
        self.call = replace(call, strategy=admitted.strategy, device=admitted.device)
        engine = self.service.engine
        estimated_ns, is_auto = admitted.estimated_ns, admitted.is_auto
        self._accept(engine.admitted_plan(self.call, estimated_ns, is_auto=is_auto))

    def run(self) -> HttpResponse:
        """Run the planned call, and encode its result."""
        assert self.call is not None  # noqa: S101  # it has been prepared
        with computing(self.call.arithmetic, self.plan.device.kind):
            outcome = self.service.engine.run(self.call, self.plan, self.watch)
        outcome.executor = self.executor
        return self.writer.encode(outcome, self.call.output, self.watch, self.request_id)
