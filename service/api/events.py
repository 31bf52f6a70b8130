"""A race as server-sent events: one for each finished strategy, the report last.

An error after the stream has begun is a `problem` event, which holds the problem document.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.asgi import framework_response
from service.core.response import HttpResponse
from service.executors import Bytes
from service.http.problems import error_response
from service.observability.counters import OK

MEDIA_TYPE: Final = EventSourceResponse.media_type
# A comment keeps proxies from closing a connection while a slow strategy runs.
PING_S: Final = 15.0


class RaceResponse(EventSourceResponse):
    """A stream that cancels its race when the client leaves, even before the stream begins."""

    def __init__(self, events: AsyncIterator[bytes], racing: asyncio.Future[HttpResponse]):
        """Send `events`; `racing` is cancelled at the end in any case."""
        super().__init__(events, headers={"Cache-Control": "no-store"})
        self._racing = racing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._racing.cancel()


class RaceEvents:
    """Events of one race: its rows as they come, and its report or problem."""

    def __init__(self, request_id: str, ping_s: float = PING_S):
        """Begin, before the race does; a comment is sent after `ping_s` seconds of silence."""
        self._request_id = request_id
        self._ping_s = ping_s
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._begun = asyncio.Event()

    def emit_row(self, row: Bytes) -> None:
        """Send a row, as JSON."""
        self._put(_event("row", row))

    async def response(self, racing: asyncio.Future[HttpResponse], *, at_once: bool) -> Response:
        """Return the stream of a race that has been started, and emits its rows here.

        It begins `at_once`, or with the first row. An error before that is a plain response, or
        raised.
        """
        racing.add_done_callback(lambda _: self._put(None))
        try:
            # An executor without room raises at once.
            await (asyncio.sleep(0) if at_once else self._begun.wait())
        except asyncio.CancelledError:
            racing.cancel()
            raise
        if racing.done() and self._events.qsize() <= 1:
            return framework_response(racing.result())
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
            response = racing.result()
        except Exception as error:  # noqa: BLE001  # `error_response` logs what is a fault
            response = error_response(error, self._request_id)
        yield _event("report" if response.status == OK else "problem", b"".join(response.chunks))


def _event(name: str, document: Bytes) -> bytes:
    return format_sse_event(event=name, data_str=bytes(document).decode())
