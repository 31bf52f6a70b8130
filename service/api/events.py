"""A race as server-sent events: one for each rung that is finished, the report last."""

import asyncio
from collections.abc import AsyncIterator
from threading import Event
from typing import Final

from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel

from service.api.reports import report_answer, row_answer
from service.compare import Race, Report, Row
from service.lanes.threads import ThreadLane

MEDIA_TYPE: Final = EventSourceResponse.media_type
# A comment keeps proxies from closing a connection on which a slow rung is silent.
PING_S: Final = 15.0


def race_events(race: Race, lane: ThreadLane) -> EventSourceResponse:
    """The race, run on `lane` while its events are sent; it ends when the client goes away.

    OverloadedError is raised here, while the answer can still be a problem document.
    """
    left = Event()
    events: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def run() -> None:
        try:
            for item in race.run(stop=left.is_set):
                loop.call_soon_threadsafe(events.put_nowait, _event(item))
        finally:
            loop.call_soon_threadsafe(events.put_nowait, None)

    running = lane.submit(run)

    async def sent() -> AsyncIterator[bytes]:
        try:
            while True:
                try:
                    event = await asyncio.wait_for(events.get(), PING_S)
                except TimeoutError:
                    event = format_sse_event(comment="racing")
                if event is None:
                    break
                yield event
            await running
        finally:
            left.set()

    return EventSourceResponse(sent(), headers={"Cache-Control": "no-store"})


def _event(item: Row | Report) -> bytes:
    if isinstance(item, Report):
        return _written("report", report_answer(item))
    return _written("row", row_answer(item))


def _written(name: str, model: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=model.model_dump_json(exclude_unset=True))
