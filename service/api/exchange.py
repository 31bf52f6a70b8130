"""One request of an operation, from its whole body to its reply. It knows no ASGI."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from service.api.content import query_fields, writer_for
from service.api.replies import Reply, writer_reply
from service.api.state import Service
from service.call import Call
from service.plan import Plan
from service.registry import Op
from service.timing import DECODE, ENCODE, QUEUE, Stopwatch
from service.wire import NO_FIELDS, Reader, Writer

# A hop to a thread takes about as long; the event loop stands still for no more than this.
INLINE_NS: Final = 200_000
# Bodies from here on leave so much behind that it is worth a few milliseconds to return it.
LARGE_BYTES: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What the head of a request settles: the operation, and the formats of body and answer."""

    service: Service
    op: Op[Any]
    reader: Reader
    writers: tuple[Writer, ...]

    @property
    def max_body_bytes(self) -> int:
        """The most bytes of a body."""
        return self.service.settings.max_body_bytes

    def begin(self, request_id: str) -> "Exchange":
        """One request on these terms; a BusyError while none is taken."""
        self.service.check_ready()
        return Exchange(self, request_id)


class Exchange:
    """One request on its way through: decode, plan, run, encode."""

    __slots__ = ("body", "call", "planned", "request_id", "service", "terms", "watch", "writer")

    body: bytearray
    call: Call
    planned: Plan
    watch: Stopwatch

    def __init__(self, terms: Terms, request_id: str):
        """Begin, before the body is received."""
        self.terms = terms
        self.service = terms.service
        self.writer = terms.writers[0]
        self.request_id = request_id

    def respond(self, body: bytearray, query: bytes) -> Reply | Awaitable[Reply]:
        """The answer to a whole body: at once if it is small, else when a slot is done with it.

        A ServiceError is raised, or awaited.
        """
        self.watch = Stopwatch()
        fields = query_fields(query) if query else NO_FIELDS
        service, reader = self.service, self.terms.reader
        deadline_ms = service.settings.deadline_ms
        if len(body) > LARGE_BYTES:
            service.tidy_later()
        if len(body) > reader.short_bytes:
            self.body = body
            return self._queue(partial(self._whole, fields), deadline_ms)
        self.call = self._decode(body, fields)
        deadline_ms = self.call.deadline_ms or deadline_ms
        planned = service.engine.known_plan(self.call)
        if planned is None:
            if not self._is_measured():
                return self._queue(self._measured, deadline_ms)
            planned = service.engine.plan(self.call)
        self._take_plan(planned)
        if planned.estimated_ns + planned.elements * self.writer.element_ns <= INLINE_NS:
            return self._answer()
        return self._queue(self._answer, deadline_ms)

    def _queue(self, work: Callable[[], Reply], deadline_ms: int) -> Awaitable[Reply]:
        """The answer of `work`, which waits for a slot."""
        self.watch.lap(DECODE)

        def begin() -> Reply:
            self.watch.lap(QUEUE)
            return work()

        return self.service.lane.run(begin, deadline_ms=deadline_ms)

    def _decode(self, body: bytearray, query: Mapping[str, str]) -> Call:
        """The call that the body asks for, or the error that says why there is none."""
        service, terms = self.service, self.terms
        reading = service.reading if self.writer.has_outputs else service.bare_reading
        return terms.reader.decode(body, terms.op, reading, query)

    def _is_measured(self) -> bool:
        """Whether the plan is ready at once."""
        return self.service.engine.is_measured(self.terms.op, self.call.operands[0].dtype)

    def _take_plan(self, planned: Plan) -> None:
        """Go on with an admitted plan, if the answer's format holds the dtype of its result."""
        self.planned = planned
        self.writer = writer_for(self.terms.writers, planned.meaning.dtype)

    def _answer(self) -> Reply:
        """Run the planned call and encode its result."""
        watch, writer = self.watch, self.writer
        outcome = self.service.engine.run(self.call, self.planned, watch)
        payload = writer.result(outcome.result, self.call.output)
        watch.lap(ENCODE)
        return writer_reply(writer, writer.answer(outcome, payload, watch.timings, self.request_id))

    def _measured(self) -> Reply:
        """The answer of a decoded call whose strategies are measured first."""
        if not self._is_measured():
            self.service.engine.measure(self.terms.op, self.call.operands[0].dtype)
        self._take_plan(self.service.engine.plan(self.call))
        return self._answer()

    def _whole(self, query: Mapping[str, str]) -> Reply:
        """All of it, on a slot."""
        self.call = self._decode(self.body, query)
        del self.body  # as text it is twice as large as the tensors
        return self._measured()
