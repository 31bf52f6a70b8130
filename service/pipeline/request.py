"""One request of an operation, from its whole body to its reply."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from service.codecs import NO_FIELDS, DecodeContext, Reader, Writer
from service.codecs.stored_arrays import names_array
from service.core.call import Call
from service.core.timing import DECODE, ENCODE, QUEUE, Stopwatch
from service.errors import ServiceError
from service.executors import (
    INLINE,
    PROCESS,
    THREAD,
    Bytes,
    Channel,
    Executor,
    Hold,
    PoolBlock,
    ThreadPool,
)
from service.http.negotiation import query_fields, too_large, writer_for
from service.http.problems import inference_error, problem_response
from service.http.response import HttpResponse, response_reply, writer_reply
from service.pipeline.dispatch import TIDIED_BYTES, Processes, hand_over
from service.pipeline.messages import TEXT, Admitted, WorkerRequest, WrongDeviceError, texts_of
from service.pipeline.service import Service
from service.planning.planner import Plan
from service.registry import Op

# The event loop waits so long for a call; for a thread that holds the GIL it has to, all the same.
INLINE_NS: Final = 1_000_000
# What runs longer shall be killed at its deadline, which no thread can be.
LONG_NS: Final = 250_000_000
# A share of the bytes in flight is taken by bodies from here on.
COUNTED_BYTES: Final = 65_536
# Text that a worker decodes is received in the pool from here on; what is compressed may be short.
SHARED_BYTES: Final = 2**20
Room = bytearray | memoryview
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the head of a request settles: the operation, and the formats of body and answer."""

    service: Service
    op: Op[Any]
    reader: Reader
    writers: tuple[Writer, ...]
    # The headers that formats were agreed on by, from which a worker finds the same formats.
    agreed: tuple[bytes | None, ...] = ()
    # Of a model of the Open Inference Protocol; empty where that protocol is not spoken.
    version: str = ""

    @property
    def max_body_bytes(self) -> int:
        """The most bytes of a body."""
        return self.service.settings.max_body_bytes

    def begin(self, request_id: str) -> "OperationRequest":
        """One request on these terms; a BusyError while none is taken."""
        self.service.check_ready()
        return OperationRequest(self, request_id)


class OperationRequest:
    """One request on its way through: decode, plan, run, encode.

    Where, is found by `respond`:

    large or packed text      a worker decodes, plans and answers (`_in_process`)
    names a stored array      a thread does (`_apart`)
    a lot to look at          a thread decodes and plans first (`_in_two_steps`)
    a plan that takes time    a thread plans first (`_in_two_steps`)
    a short plan              here, at once (`_answer`)
    any other plan            an owner, a worker, or a thread (`_beside`)
    """

    __slots__ = ("_block", "_hold", "body", "call", "lane", "planned", "request_id", "service",
                 "strategy", "terms", "watch", "writer")  # fmt: skip

    body: Room
    call: Call
    planned: Plan
    watch: Stopwatch

    def __init__(self, terms: Negotiated, request_id: str):
        """Begin, before the body is received."""
        self.terms = terms
        self.service = terms.service
        self.writer = terms.writers[0]
        self.request_id = request_id
        self.lane: Executor = INLINE
        self.strategy = ""  # that a worker has planned, or none yet
        self._hold: Hold | None = None
        self._block: PoolBlock | None = None

    def expect(self, size: int) -> None:
        """Take a share of the bytes in flight for a body of `size`.

        BodyTooLargeError if no body may be so large, OverloadedError if there is no such share.
        """
        if size > self.terms.max_body_bytes:
            raise too_large(f"Content-Length is {size}", self.terms.max_body_bytes)
        if size > COUNTED_BYTES:
            self._hold = self.service.bodies.hold(size)

    def room(self, size: int) -> Room:
        """Where to receive a body of `size`: in the pool, if a worker is to decode it."""
        pool = self.service.pool
        if pool is not None and SHARED_BYTES <= size > self.terms.reader.thread_bytes:
            self._block = pool.take(size)
        return bytearray(size) if self._block is None else self._block.view

    def end(self) -> None:
        """Give share and room back; the exchange is over, or its client has left."""
        if self._hold is not None:
            self._hold.release()
        block, self._block = self._block, None
        if block is not None:
            block.release()

    def respond(self, body: Room, query: bytes) -> HttpResponse | Awaitable[HttpResponse]:
        """The answer to a whole body: at once if it is small, else when a lane is done with it.

        A ServiceError is raised, or awaited.
        """
        self.watch = Stopwatch()
        fields = query_fields(query) if query else NO_FIELDS
        if len(body) > TIDIED_BYTES:
            self.service.tidy_later()
        self.body = body
        service, reader = self.service, self.terms.reader
        if service.reading.arrays is not None and (not reader.thread_bytes or names_array(body)):
            return self._apart(fields, query)
        if len(body) > reader.thread_bytes and service.workers:
            return self._in_process(service.workers, query, None)
        call = reader.try_decode(body, self.terms.op, self._reading, fields)
        if call is None:
            return self._in_two_steps(partial(self._whole, fields), query)
        self.call = call
        planned = service.engine.known_plan(self.call)
        if planned is None:
            if not service.engine.plans_at_once(self.terms.op, call.operands):
                return self._in_two_steps(self._plan, query)
            planned = service.engine.plan(self.call)
        self._take_plan(planned)
        if planned.estimated_ns + self._encode_ns <= INLINE_NS and not planned.device.has_process:
            return self._answer()
        return self._beside(query)

    def refused(self, error: ServiceError) -> HttpResponse:
        """The reply to a call that ended in this error, in the form of its route."""
        word = inference_error if self.terms.version else problem_response
        return response_reply(word(error))

    def work(self, task: WorkerRequest, body: Bytes, line: Channel) -> HttpResponse:
        """In a worker process: the answer that `respond` left to it."""
        self.watch = Stopwatch.resume(task.watch)
        self.watch.lap(QUEUE)
        self.lane = PROCESS
        self.call = self._decode(body, query_fields(task.query.encode(TEXT)))
        admitted = task.admitted
        if admitted is None:
            if self.call.deadline_ms is not None:
                self.watch.lap(DECODE)
                line.set_deadline(self._left_ms(self.call.deadline_ms))
            self._plan()
            if self.planned.device.has_process:
                self.watch.lap(DECODE)
                admitted = Admitted.of(self.planned)
                raise WrongDeviceError(admitted, self.call.deadline_ms, self.watch.reading)
        else:
            engine = self.service.engine
            call = replace(self.call, strategy=admitted.strategy, device=admitted.device)
            self._take_plan(engine.planner.admitted(engine.request(call), admitted.estimated_ns))
        self.strategy = self.planned.strategy.name
        return self._answer()

    async def _in_two_steps(self, plan: Callable[[], None], query: bytes) -> HttpResponse:
        """The answer of a call that is decoded or planned on a thread first."""
        self.lane = THREAD
        await self._on_thread(plan, None, self.service.settings.deadline_ms)
        return await self._beside(query)

    def _beside(self, query: bytes) -> Awaitable[HttpResponse]:
        """The answer of a planned call, made beside the event loop: the plan chooses the lane."""
        planned, workers = self.planned, self.service.workers
        keeps_gil = planned.interpreter_ns + self._encode_ns > INLINE_NS
        here = planned.device.cluster is None
        if planned.device.has_process:
            owner = self.service.owners[planned.device.name]
            return self._in_process(owner, query, Admitted.of(planned))
        if workers and here and (keeps_gil or planned.estimated_ns > LONG_NS):
            return self._in_process(workers, query, Admitted.of(planned))
        return self._computed()

    def _computed(self) -> Awaitable[HttpResponse]:
        """The answer of a planned call, computed on a thread: here, or by a cluster."""
        del self.body  # as text it is twice as large as the tensors
        self.lane = THREAD
        self.watch.lap(DECODE)
        estimated_ns = self.planned.estimated_ns + self._encode_ns
        lane, left_ms = self.service.lane_of(self.planned), self._left_ms(self.call.deadline_ms)
        return self._on_thread(self._answer, estimated_ns, left_ms, lane)

    async def _apart(self, fields: Mapping[str, str], query: bytes) -> HttpResponse:
        """The answer of a call that waits for a disk first; no worker tries it a second time."""
        await self._on_thread(partial(self._whole, fields), None, self.service.settings.deadline_ms)
        return await (self._beside(query) if self.planned.device.has_process else self._computed())

    def _on_thread(
        self,
        work: Callable[[], T],
        estimated_ns: int | None,
        deadline_ms: int,
        lane: ThreadPool | None = None,
    ) -> Awaitable[T]:
        """What `work` gives, when a slot is free for it."""
        self.watch.lap(DECODE)

        def begin() -> T:
            self.watch.lap(QUEUE)
            return work()

        lane = lane or self.service.lane
        return lane.run(begin, estimated_ns=estimated_ns, deadline_ms=deadline_ms)

    async def _in_process(
        self, to: Processes, query: bytes, admitted: Admitted | None
    ) -> HttpResponse:
        """The answer of another process, which gets the body as it came."""
        self.lane = PROCESS
        estimated_ns = deadline_ms = None
        if admitted is not None:
            estimated_ns = admitted.estimated_ns + self._encode_ns
            deadline_ms = self.call.deadline_ms
            del self.call  # it is in the body
        self.watch.lap(DECODE)
        body = self.body if self._block is None else self._block
        task = WorkerRequest(
            op=self.terms.op.name,
            version=self.terms.version,
            headers=texts_of(self.terms.agreed),
            query=query.decode(TEXT),
            request_id=self.request_id,
            watch=self.watch.reading,
            admitted=admitted,
        )
        left_ms = self._left_ms(deadline_ms)
        reply, self.watch, self.strategy = await hand_over(
            self.service, to, task, body, estimated_ns=estimated_ns, deadline_ms=left_ms
        )
        return reply

    @property
    def _encode_ns(self) -> int:
        """About what it takes to write the result."""
        return self.planned.elements * self.writer.element_ns

    @property
    def _reading(self) -> DecodeContext:
        """Within which limits the body is read."""
        return self.service.reading if self.writer.has_outputs else self.service.bare_reading

    def _left_ms(self, deadline_ms: int | None) -> int:
        """What is left of this deadline, or of the server's."""
        return max(1, (deadline_ms or self.service.settings.deadline_ms) - self.watch.elapsed_ms)

    def _decode(self, body: Bytes, query: Mapping[str, str]) -> Call:
        """The call that the body asks for, or the error that says why there is none."""
        return self.terms.reader.decode(body, self.terms.op, self._reading, query)

    def _take_plan(self, planned: Plan) -> None:
        """Go on with an admitted plan, if the answer's format holds the dtype of its result."""
        self.planned = planned
        self.writer = writer_for(self.terms.writers, planned.inferred.dtype)

    def _answer(self) -> HttpResponse:
        """Run the planned call and encode its result."""
        watch, writer = self.watch, self.writer
        outcome = self.service.engine.run(self.call, self.planned, watch)
        outcome.executor = self.lane
        payload = writer.result(outcome.result, self.call.output)
        watch.lap(ENCODE)
        return writer_reply(writer, writer.answer(outcome, payload, watch.timings, self.request_id))

    def _plan(self) -> None:
        """Plan a decoded call whose strategies may have to be measured first."""
        engine, op, operands = self.service.engine, self.terms.op, self.call.operands
        if not engine.plans_at_once(op, operands):
            engine.measure(op, operands[0].dtype)
        self._take_plan(engine.plan(self.call))

    def _whole(self, query: Mapping[str, str]) -> None:
        """Decode and plan."""
        self.call = self._decode(self.body, query)
        self._plan()
