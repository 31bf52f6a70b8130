"""The pipeline of a request: decode, plan, run, encode. The parts that all kinds have in common.

A request has the same pipeline however it was received: by the fast path of the server or as ASGI,
and in the event loop, on a thread or in a worker process. `service.pipeline.dispatch` chooses.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter_ns
from typing import Any, Final

from service.codecs import NO_FIELDS, DecodeContext, Reader, Writer
from service.codecs.base import UNBOUNDED_BYTES, Reading
from service.codecs.stored_arrays import names_array
from service.core.call import Call
from service.core.response import HttpResponse
from service.core.timing import DECODE, QUEUE, Stopwatch
from service.errors import BodyTooLargeError, OutOfMemoryError
from service.executors import (
    INLINE,
    PROCESS,
    AnyExecutor,
    Bytes,
    Channel,
    Emit,
    Executor,
    Hold,
)
from service.http.negotiation import query_fields
from service.pipeline.messages import HEADER_ENCODING, WorkerRequest, texts_of
from service.pipeline.service import COUNTED_BYTES, READY, TRIM_BYTES, Service
from service.registry import Op

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Shorter bodies are not read while they arrive: threads would take longer to wake.
STREAMED_BYTES: Final = 2**20
Buffer = bytearray


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


class PipelineRequest(ABC):
    """One request on its way through the pipeline: what requests of every kind have in common.

    It is prepared (`prepare`: decoded, and planned), and then run (`run`). `hold` counts its body
    as in flight, and `reading` reads it while it arrives, if it is long; `release` ends both. Text
    that is slow to read is prepared in the worker process that runs it.
    """

    __slots__ = ("body", "buffer", "call", "emit", "executor", "fields", "hold", "is_over",
                 "is_prepared", "is_slow_text", "may_wait", "negotiated", "op_name", "query",
                 "reading", "request_id", "service", "strategy", "version", "watch")  # fmt: skip

    # Set by `start`.
    body: Bytes
    query: bytes
    fields: Mapping[str, str]
    watch: Stopwatch
    may_wait: bool

    def __init__(
        self,
        negotiated: Negotiated,
        request_id: str,
        length: int = 0,
        received: bytes | None = None,
    ):
        """Take a share of the bytes in flight, and memory for a body of `length` bytes.

        The memory is filled with the body if all of it has been `received`.
        """
        service = negotiated.service
        if service.state != READY:
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
        self.is_prepared = self.is_over = self.is_slow_text = False
        self.hold: Hold | None = None
        self.reading: Reading | None = None
        if length > service.uncounted_bytes:
            self.count(length, f"Content-Length is {length}")
        if received is not None:
            self.buffer = bytearray(received)
        else:
            self.buffer = bytearray(length) if length <= COUNTED_BYTES else self._memory(length)

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

    def _memory(self, size: int) -> bytearray:
        """Return memory for a large body, which is read while it arrives there."""
        try:
            buffer = bytearray(size)
        except MemoryError:
            self.release()
            raise OutOfMemoryError(f"there is no memory for a body of {size} bytes") from None
        if size >= STREAMED_BYTES:
            negotiated = self.negotiated
            self.reading = negotiated.reader.begin(buffer, negotiated.op, self.context)
        return buffer

    def release(self) -> None:
        """Give back the share of bytes in flight, and stop reading; the request is over."""
        hold, self.hold = self.hold, None
        if hold is not None:
            # Also after a body that was refused, or whose client left before its end.
            if hold.size > TRIM_BYTES:
                self.service.trim_memory_later()
            hold.release()
        reading, self.reading = self.reading, None
        if reading is not None:
            reading.stop()

    def drop_body(self) -> None:
        """Let go of the body of a prepared request: its text is twice as large as its tensors."""
        self.body = self.buffer = bytearray()

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
    def left_ms(self) -> int:
        """Rest of the deadline at the last mark, and at least 1 ms."""
        return max(1, self.deadline_ms - self.watch.elapsed_ms)

    @property
    def estimated_ns(self) -> int | None:
        """Estimated time of `run`; None if it is not known."""
        return None

    def decode(self) -> Call:
        """Return the call of the body, or raise the error that explains why it has none."""
        negotiated, context = self.negotiated, self.context
        if self.may_wait:
            context = replace(context, max_slow_bytes=UNBOUNDED_BYTES)
        reading, self.reading = self.reading, None
        if reading is not None:
            return reading.decode(context, self.fields)
        return negotiated.reader.decode(self.body, negotiated.op, context, self.fields)

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
            query=self.query.decode(HEADER_ENCODING),
            request_id=self.request_id,
            marks=self.watch.marks,
        )

    def work(self, message: WorkerRequest, body: Bytes, channel: Channel) -> HttpResponse:
        """Go on in a worker process where the server left off, to the response."""
        self.receive(message, body)
        self.prepare_in_worker(message, channel)
        return self.run()

    def receive(self, message: WorkerRequest, body: Bytes) -> None:
        """Take over what the server has sent."""
        self.watch = Stopwatch([*message.marks])
        self.watch.lap(QUEUE)
        self.executor = PROCESS
        self.may_wait = False
        self.body = body
        self.fields = query_fields(message.query.encode(HEADER_ENCODING))

    def prepare_in_worker(self, message: WorkerRequest, channel: Channel) -> None:
        """Decode the body, and plan the call, in a worker process."""
        if message.streams:
            self.emit = channel.emit
        self.prepare()
