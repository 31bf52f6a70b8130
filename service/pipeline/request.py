"""The pipeline of one request of an operation: decode, plan, run, encode.

A request has the same pipeline however it was received: by the fast path of the server or as ASGI,
and in the event loop, on a thread or in a worker process. `service.pipeline.dispatch` chooses.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter_ns
from typing import Any, Final

from service.codecs import NO_FIELDS, DecodeContext, Reader, Writer
from service.codecs.stored_arrays import names_array
from service.core.call import Call
from service.core.response import HttpResponse
from service.core.timing import DECODE, QUEUE, Stopwatch
from service.errors import BodyTooLargeError, OutOfMemoryError
from service.executors import (
    INLINE,
    PROCESS,
    Bytes,
    Channel,
    Emit,
    Executor,
    Hold,
    PoolBlock,
    ProcessPool,
)
from service.http.negotiation import NEGOTIATED, formats, query_fields, writer_for
from service.pipeline.dispatch import (
    INLINE_NS,
    AnyExecutor,
    dispatch,
    left_ms,
    planned_executor,
    with_planning_state,
)
from service.pipeline.messages import (
    TEXT,
    Admitted,
    WorkerRequest,
    WrongDeviceError,
    texts_of,
)
from service.pipeline.service import READY, Service
from service.planning.planner import Plan
from service.registry import Op

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Bodies from here on take a share of the bytes in flight.
COUNTED_BYTES: Final = 65_536
# Text that a worker decodes is received in the pool from here on; what is compressed may be short.
SHARED_BYTES: Final = 2**20
Buffer = bytearray | memoryview


def request_id_of(given: bytes | None) -> str:
    """Return the client's request id if it is a valid one, else a new one."""
    if given is not None:
        text = given.decode("latin-1")
        if REQUEST_ID.fullmatch(text):
            return text
    return f"{_INSTANCE}{next(_COUNT):08x}"


# Unique among instances by 96 random bits, and within one by counting: 16 random bytes for each
# request would take ten times as long.
_INSTANCE: Final = os.urandom(12).hex()
_COUNT: Final = count(1)


@dataclass(frozen=True, slots=True)
class OperationEndpoint:
    """POST of an operation."""

    service: Service
    op: Op[Any]

    def negotiate(self, headers: Mapping[bytes, bytes]) -> "Negotiated":
        """Return what raw headers settle, or raise the error that is known before the body."""
        given = tuple(map(headers.get, NEGOTIATED))
        return Negotiated(self.service, self.op, *formats(headers), headers=given)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The operation of a request, and the formats of body and answer: what its head settles.

    `headers` are the values of those that formats are negotiated by: a worker process finds the
    same formats from them. `version` is that of a model of the Open Inference Protocol, and empty
    where that protocol is not spoken.
    """

    service: Service
    op: Op[Any]
    reader: Reader
    writers: tuple[Writer, ...] = ()
    headers: tuple[bytes | None, ...] = ()
    version: str = ""

    def begin(self, request_id: str, length: int = 0) -> "OperationRequest":
        """Return a request with a buffer for a body of `length` bytes.

        BusyError while no requests are taken, BodyTooLargeError, OverloadedError,
        OutOfMemoryError.
        """
        return OperationRequest(self, request_id, length)


class PipelineRequest(ABC):
    """One request on its way through the pipeline: what requests of every kind have in common.

    It is prepared (`prepare`: decoded, and planned), and then run (`run`). `hold` counts its body
    as in flight, and `block` is the memory of its body in the pool that is shared with workers, if
    it is there; `release` gives both back.
    """

    __slots__ = ("block", "body", "buffer", "call", "emit", "executor", "fields", "hold", "is_over",
                 "is_prepared", "may_wait", "negotiated", "op_name", "query", "request_id",
                 "service", "strategy", "version", "watch")  # fmt: skip

    # Set by `start`.
    body: Bytes
    query: bytes
    fields: Mapping[str, str]
    watch: Stopwatch
    may_wait: bool

    def __init__(self, negotiated: Negotiated, request_id: str, length: int = 0):
        """Take a share of the bytes in flight, and memory for a body of `length` bytes."""
        service = negotiated.service
        if service.phase != READY:
            service.check_ready()
        self.negotiated = negotiated
        self.service = service
        self.op_name = negotiated.op.name
        self.version = negotiated.version
        self.request_id = request_id
        self.executor: Executor = INLINE
        self.strategy = ""  # none has been planned
        self.call: Call | None = None
        self.emit: Emit | None = None
        self.is_prepared = self.is_over = False
        self.hold: Hold | None = None
        self.block: PoolBlock | None = None
        if length > COUNTED_BYTES:
            self.count(length, f"Content-Length is {length}")
        self.buffer: Buffer = bytearray(length) if length <= COUNTED_BYTES else self._memory(length)

    def count(self, size: int, found: str) -> None:
        """Count `size` bytes of the body as in flight.

        OverloadedError if they are too many; BodyTooLargeError, which says what was `found`.
        """
        limit = self.service.settings.max_body_bytes
        if size > limit:
            self.release()
            raise BodyTooLargeError(
                f"the body may have {limit} bytes (SERVICE_MAX_BODY_BYTES); {found}",
                hint='{"shape": ..., "b64": ...} takes less room than decimal digits',
            )
        if size <= COUNTED_BYTES:
            return
        if self.hold is None:
            self.hold = self.service.inflight.hold()
        self.hold.grow(size)

    def _memory(self, size: int) -> Buffer:
        """Return memory for a large body: in the pool, if a worker is to decode it."""
        pool = self.service.pool
        try:
            if pool is not None and SHARED_BYTES <= size > self.negotiated.reader.thread_bytes:
                self.block = pool.take(size)
            return bytearray(size) if self.block is None else self.block.view
        except MemoryError:
            self.release()
            raise OutOfMemoryError(f"there is no memory for a body of {size} bytes") from None

    def release(self) -> None:
        """Give back the share of bytes in flight and the memory; the request is over."""
        hold, self.hold = self.hold, None
        if hold is not None:
            hold.release()
        block, self.block = self.block, None
        if block is not None:
            block.release()

    def start(self, body: Bytes, query: bytes) -> None:
        """Begin with the whole body; DuplicateKeyError for a key that is twice in the query."""
        self.watch = Stopwatch([(DECODE, perf_counter_ns())])
        self.fields = query_fields(query) if query else NO_FIELDS
        self.body = body
        self.query = query
        # Stored arrays are read from a disk, for which a thread waits, and no worker twice.
        self.may_wait = self.service.context.arrays is not None and (
            not self.negotiated.reader.thread_bytes or names_array(body)
        )

    @property
    def context(self) -> DecodeContext:
        """Limits and defaults that the body is decoded with."""
        return self.service.context

    @property
    def deadline_ms(self) -> int:
        """Deadline of the call, if it states one, or of the server."""
        stated = None if self.call is None else self.call.deadline_ms
        return stated or self.service.settings.deadline_ms

    @property
    def estimated_ns(self) -> int | None:
        """Estimated time of `run`; None if it is not known."""
        return None

    def decode(self) -> Call:
        """Return the call of the body, or raise the error that explains why it has none."""
        negotiated = self.negotiated
        return negotiated.reader.decode(self.body, negotiated.op, self.context, self.fields)

    @abstractmethod
    def decoding_pool(self) -> ProcessPool | None:
        """Return the worker processes that are to decode the body, too; None if it is done here."""

    @abstractmethod
    def prepare(self) -> None:
        """Decode the body, and plan the call, on a thread or in a worker process."""

    @abstractmethod
    def choose_executor(self) -> AnyExecutor:
        """Return the executor of a prepared request."""

    @abstractmethod
    def run(self) -> HttpResponse:
        """Compute, and encode the response of a prepared request."""

    def message(self) -> WorkerRequest:
        """Return the message to a worker process, which gets the body beside it."""
        negotiated = self.negotiated
        return WorkerRequest(
            op=self.op_name,
            version=self.version,
            headers=texts_of(negotiated.headers),
            query=self.query.decode(TEXT),
            request_id=self.request_id,
            marks=self.watch.marks,
        )

    def work(self, message: WorkerRequest, body: Bytes, channel: Channel) -> HttpResponse:
        """Go on in a worker process where the server left off, to the response."""
        self.watch = Stopwatch([*message.marks])
        self.watch.lap(QUEUE)
        self.executor = PROCESS
        self.body = body
        self.fields = query_fields(message.query.encode(TEXT))
        self.prepare_in_worker(message, channel)
        return self.run()

    def prepare_in_worker(self, message: WorkerRequest, channel: Channel) -> None:
        """Decode the body, and plan the call, in a worker process."""
        if message.streams:
            self.emit = channel.emit
        self.prepare()


class OperationRequest(PipelineRequest):
    """A request of an operation."""

    __slots__ = ("plan", "writer")

    plan: Plan
    writer: Writer

    def respond(self, body: Buffer, query: bytes) -> HttpResponse | Awaitable[HttpResponse]:
        """Return the response to a whole body: at once if it is a short call, else to be awaited.

        A ServiceError is raised, or awaited. Every small request passes here: nothing is called
        that can be done without.
        """
        self.start(body, query)
        negotiated, service = self.negotiated, self.service
        reader = negotiated.reader
        if self.may_wait or len(body) > reader.thread_bytes:
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
        if time_ns > INLINE_NS or plan.device.has_process:
            return dispatch(self)
        outcome = service.engine.run(call, plan, self.watch)
        return writer.encode(outcome, call.output, self.watch, self.request_id)

    @property
    def context(self) -> DecodeContext:
        """Limits and defaults that the body is decoded with, by the answer's first format."""
        service = self.service
        has_outputs = self.negotiated.writers[0].has_outputs
        return service.context if has_outputs else service.binary_context

    @property
    def encode_ns(self) -> int:
        """Estimated time of encoding the result."""
        return self.plan.sizes.elements * self.writer.element_ns

    @property
    def estimated_ns(self) -> int | None:
        """Estimated time of computing and encoding; None if nothing has been planned."""
        return self.plan.estimated_ns + self.encode_ns if self.is_prepared else None

    def decoding_pool(self) -> ProcessPool | None:
        """Return the worker processes, if the text is too long to be decoded here."""
        is_short = len(self.body) <= self.negotiated.reader.thread_bytes
        return None if self.is_prepared or self.may_wait or is_short else self.service.workers

    def prepare(self) -> None:
        """Decode the body if that is left to do, and plan the call."""
        if self.call is None:
            self.call = self.decode()
        self._accept(self.service.engine.plan(self.call))

    def _accept(self, plan: Plan) -> None:
        """Go on with an admitted plan, if a format of the answer holds the dtype of its result."""
        self.plan, self.strategy = plan, plan.strategy.name
        self.writer = writer_for(self.negotiated.writers, plan.inferred.dtype)
        self.is_prepared = True

    def choose_executor(self) -> AnyExecutor:
        """Return the executor for the plan."""
        return planned_executor(self.service, self.plan, self.encode_ns, may_wait=self.may_wait)

    def run(self) -> HttpResponse:
        """Run the planned call, and encode its result."""
        assert self.call is not None  # noqa: S101  # it has been prepared
        outcome = self.service.engine.run(self.call, self.plan, self.watch)
        outcome.executor = self.executor
        return self.writer.encode(outcome, self.call.output, self.watch, self.request_id)

    def message(self) -> WorkerRequest:
        """Return the message to a worker, with the plan, or with what a plan depends on."""
        message = super().message()
        if self.is_prepared:
            return replace(message, admitted=Admitted.of(self.plan))
        return with_planning_state(message, self.service)

    def prepare_in_worker(self, message: WorkerRequest, channel: Channel) -> None:
        """Decode, and plan as the server has, or anew.

        WrongDeviceError if the call is planned for a device that has a process of its own.
        """
        engine, admitted = self.service.engine, message.admitted
        self.call = call = self.decode()
        if admitted is not None:
            self.call = replace(call, strategy=admitted.strategy, device=admitted.device)
            self._accept(engine.admitted_plan(self.call, admitted.estimated_ns))
            return
        if call.deadline_ms is not None:
            self.watch.lap(DECODE)
            channel.set_deadline(left_ms(self))
        self.prepare()
        if self.plan.device.has_process:
            self.watch.lap(DECODE)
            raise WrongDeviceError(Admitted.of(self.plan), call.deadline_ms, self.watch.marks)
