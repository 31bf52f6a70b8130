"""A race as server-sent events: one for each rung that is finished, the report last.

What goes wrong when the stream has begun comes as a `problem` event, which holds its document.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ServiceError
from service.executors import Bytes
from service.http.problems import problem_response
from service.http.response import HttpResponse, reply_response, response_reply
from service.observability.counters import OK

MEDIA_TYPE: Final = EventSourceResponse.media_type
# A comment keeps proxies from closing a connection on which a slow rung is silent.
PING_S: Final = 15.0


class RaceResponse(EventSourceResponse):
    """A stream that ends its race when its client has left, even before it was begun."""

    def __init__(self, events: AsyncIterator[bytes], racing: asyncio.Future[HttpResponse]):
        """Send `events`; `racing` is cancelled at the end, however it comes."""
        super().__init__(events, headers={"Cache-Control": "no-store"})
        self._racing = racing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._racing.cancel()


class RaceEvents:
    """The events of one race: its rows, as they are told, and what it ends with."""

    def __init__(self, ping_s: float = PING_S):
        """Begin, before the race does; a comment is sent after so many seconds of silence."""
        self._ping_s = ping_s
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._begun = asyncio.Event()

    def tell(self, row: Bytes) -> None:
        """Send a row, as JSON."""
        self._put(_event("row", row))

    async def response(self, racing: asyncio.Future[HttpResponse], *, at_once: bool) -> Response:
        """The stream of a race that has been started, and tells its rows here.

        It begins `at_once`, or with the first row. What is wrong before is a plain answer, or the
        ServiceError that is raised.
        """
        racing.add_done_callback(lambda _: self._put(None))
        try:
            # A lane without room says so at once.
            await (asyncio.sleep(0) if at_once else self._begun.wait())
        except asyncio.CancelledError:
            racing.cancel()
            raise
        if racing.done() and self._events.qsize() <= 1:
            return reply_response(racing.result())
        return RaceResponse(self._sent(racing), racing)

    def _put(self, event: bytes | None) -> None:
        self._events.put_nowait(event)
        self._begun.set()

    async def _sent(self, racing: asyncio.Future[HttpResponse]) -> AsyncIterator[bytes]:
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), self._ping_s)
            except TimeoutError:
                event = format_sse_event(comment="racing")
            if event is None:
                break
            yield event
        try:
            reply = racing.result()
        except ServiceError as error:
            reply = response_reply(problem_response(error))
        yield _event("report" if reply.status == OK else "problem", b"".join(reply.chunks))


def _event(name: str, document: Bytes) -> bytes:
    return format_sse_event(event=name, data_str=bytes(document).decode())
