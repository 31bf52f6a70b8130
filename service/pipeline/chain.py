"""Requests of chains: the pipeline of an operation, with a plan of several steps."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.chain_engine import admitted_plan, prepare_chain, run_chain
from service.codecs import Writer
from service.codecs.chain import SINGLE
from service.codecs.media_types import SAFETENSORS
from service.core.arithmetic import computing
from service.core.call import Call
from service.core.response import HttpResponse
from service.http.errors import NotAcceptableError
from service.http.negotiation import FORMAT_HEADERS, chain_formats, writer_for
from service.pipeline.dispatch import INLINE_NS, dispatch
from service.pipeline.messages import Admitted
from service.pipeline.planned import PlannedRequest
from service.pipeline.request import Buffer, Negotiated
from service.pipeline.service import Service
from service.planning.chain import ChainPlan
from service.planning.plan import plans_at_once

# Between the strategies of steps in a message.
SEPARATOR: Final = ","
# With more steps, to plan them takes longer than a millisecond.
MAX_STEPS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class ChainEndpoint:
    """POST of a chain."""

    service: Service

    def negotiate(self, headers: Mapping[bytes, bytes]) -> "NegotiatedChain":
        """Return what raw headers settle, or raise the error that is known before the body."""
        given = tuple(map(headers.get, FORMAT_HEADERS))
        found = chain_formats(headers)
        return NegotiatedChain(self.service, self.service.chain, *found, headers=given)


@dataclass(frozen=True, slots=True)
class NegotiatedChain(Negotiated):
    """The formats of a chain that the head of a request settles."""

    def begin(
        self, request_id: str, length: int = 0, received: bytes | None = None
    ) -> "ChainRequest":
        """Return a request with a buffer for a body, as `NegotiatedOperation.begin` does."""
        return ChainRequest(self, request_id, length, received)


class ChainRequest(PlannedRequest[ChainPlan]):
    """A request of a chain. One that makes a chain of another call overrides `to_chain`."""

    __slots__ = ()

    def respond(self, body: Buffer, query: bytes) -> HttpResponse | Awaitable[HttpResponse]:
        """Return the response to a whole body: at once if it is a short chain, else to be awaited.

        A ServiceError is raised, or awaited.
        """
        self.start(body, query)
        negotiated = self.negotiated
        reader = negotiated.reader
        if not self.may_wait and self.reading is None and len(body) <= reader.thread_bytes:
            call = reader.try_decode(body, negotiated.op, self.context, self.fields)
            if call is not None and self.converts_at_once(call):
                self.call = self.to_chain(call)
        if self.call is None or not _plans_at_once(self.call):
            return dispatch(self)
        self.prepare()
        if self.plan.estimated_ns + self.encode_ns > INLINE_NS or self.plan.is_elsewhere:
            return dispatch(self)
        return self.run()

    def converts_at_once(self, call: Call) -> bool:
        """Return whether `to_chain` takes about a millisecond."""
        return True

    def to_chain(self, call: Call, *, is_admitted: bool = False) -> Call:
        """Return the call of a chain for the call in the body, or raise the error that refuses it.

        The call in the body of a chain is one. One that another process has admitted is not
        refused for its cost.
        """
        return call

    @property
    def explanation(self) -> Mapping[str, object] | None:
        """Fields of the answer that are known before anything runs; None if there are none."""
        return None

    @property
    def encode_ns(self) -> int:
        """Estimated time of encoding the results."""
        return self.plan.elements * self.writer.element_ns

    @property
    def admitted(self) -> Admitted:
        """The plan as it is told to other processes."""
        names = SEPARATOR.join(self.plan.strategies)
        return Admitted(names, self.plan.device.name, self.plan.estimated_ns)

    def decode_call(self, *, is_admitted: bool = False) -> Call:
        """Return the chain of the body."""
        return self.to_chain(self.decode(), is_admitted=is_admitted)

    def prepare(self) -> None:
        """Decode the body if that is left to do, and plan all steps."""
        if self.call is None:
            self.call = self.decode_call()
        self._accept(self.call, prepare_chain(self.service.engine, self.call))

    def _accept(self, call: Call, plan: ChainPlan) -> None:
        """Go on with an admitted plan, if a format of the answer holds all results."""
        self.plan, self.strategy = plan, call.strategy
        self.writer = self._choose_writer()
        self.is_prepared = True

    def _choose_writer(self) -> Writer:
        """Return the first accepted format that holds all results; else NotAcceptableError."""
        count, writers = len(self.plan.inferred.results), self.negotiated.writers
        able = [each for each in writers if count == 1 or each.media_type not in SINGLE]
        if not able:
            raise NotAcceptableError(
                f"{writers[0].media_type} holds one tensor; the chain has {count} results",
                hint=f"send 'Accept: {SAFETENSORS}', or name one in results",
            )
        for writer in able:
            if self.plan.dtypes <= writer.dtypes:
                return writer
        return writer_for(tuple(able), max(self.plan.dtypes - able[0].dtypes, key=str))

    def prepare_admitted(self, call: Call, admitted: Admitted) -> None:
        """Plan the steps as another process has."""
        call.device = admitted.device
        names = admitted.strategy.split(SEPARATOR)
        engine = self.service.engine
        self._accept(call, admitted_plan(engine, call, names, admitted.estimated_ns))

    def run(self) -> HttpResponse:
        """Run the planned steps, and encode their results."""
        assert self.call is not None  # noqa: S101  # it has been prepared
        with computing(self.call.arithmetic, self.plan.device.kind):
            outcome = run_chain(self.service.engine, self.call, self.plan, self.watch)
        outcome.executor = self.executor
        outcome.explanation = self.explanation
        return self.writer.encode(outcome, self.call.output, self.watch, self.request_id)


def _plans_at_once(call: Call) -> bool:
    """Return whether a plan takes about a millisecond: few steps, of few operands each."""
    steps: Any = call.params["steps"]
    return len(steps) <= MAX_STEPS_AT_ONCE and all(plans_at_once(each.sources) for each in steps)
