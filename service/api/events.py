"""A race as server-sent events: one for each rung that is finished, the report last.

What goes wrong when the stream has begun comes as a `problem` event, which holds its document.
"""

import asyncio
from collections.abc import AsyncIterator
from threading import Event
from typing import Final

from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from service.api.problems import problem_response
from service.api.reports import report_answer, row_answer
from service.compare import Race
from service.errors import ServiceError
from service.lanes import ThreadLane

MEDIA_TYPE: Final = EventSourceResponse.media_type
# A comment keeps proxies from closing a connection on which a slow rung is silent.
PING_S: Final = 15.0


class RaceResponse(EventSourceResponse):
    """A stream that says when its client has left, even before it was begun."""

    def __init__(self, events: AsyncIterator[bytes], left: Event):
        """Send `events`; `left` is set at the end, however it comes."""
        super().__init__(events, headers={"Cache-Control": "no-store"})
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left.set()


def race_events(
    race: Race, lane: ThreadLane, *, deadline_ms: int, ping_s: float = PING_S
) -> EventSourceResponse:
    """The race, run on `lane` while its events are sent; it ends when the client goes away.

    OverloadedError is raised here, while the answer can still be a problem document.
    """
    left = Event()
    events: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(event: bytes | None) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    def run() -> None:
        try:
            rows = []
            for row in race.run(stop=left.is_set):
                put(_event("row", row_answer(row)))
                rows.append(row)
            put(_event("report", report_answer(race.report(rows))))
        except ServiceError as error:
            put(_problem(error))
        finally:
            put(None)

    running = lane.submit(run, deadline_ms=deadline_ms)

    async def sent() -> AsyncIterator[bytes]:
        try:
            while True:
                try:
                    event = await asyncio.wait_for(events.get(), ping_s)
                except TimeoutError:
                    event = format_sse_event(comment="racing")
                if event is None:
                    break
                yield event
            await running
        finally:
            left.set()
            running.cancel()  # gives up its place, if it still waits for one

    return RaceResponse(sent(), left)


def _event(name: str, model: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=model.model_dump_json(exclude_unset=True))


def _problem(error: ServiceError) -> bytes:
    document = bytes(problem_response(error).body).decode()
    return format_sse_event(event="problem", data_str=document)
