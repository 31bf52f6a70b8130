"""Races as requests: in a worker process, or on a thread where no process is for them.

Either way each row is told as its rung is finished, and the report is the reply. A process runs at
nice 10, with as many intra-op threads as any call: what a rung takes there is what a call takes
while the host does nothing else. It is killed when its client leaves, and at the deadline. It does
not touch GPUs: they have owners, whose rungs are skipped. On a thread a race ends with the run that
is under way: so it is with a registry that is not the service's own.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Any, Final

from starlette.responses import Response

from service import compare
from service.codecs import Reader
from service.compare import Race
from service.core.timing import Stopwatch
from service.errors import ServiceError
from service.executors import Bytes, Channel, ProcessPool, Tell
from service.http.negotiation import query_fields
from service.http.problems import problem_response
from service.http.response import HttpResponse, response_reply
from service.http.serializers import report_answer, row_answer
from service.pipeline.dispatch import TIDIED_BYTES
from service.pipeline.messages import TEXT, WorkerRequest, reply_of, texts_of
from service.pipeline.service import Service
from service.registry import Op


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client sent: the body, the query string, and the headers that formats go by."""

    body: bytearray
    query: bytes
    agreed: tuple[bytes | None, ...]
    request_id: str


class RaceRequest:
    """One race on its way: `check` and `run` in the server, `work` in a worker process."""

    strategy: Final = ""  # a race has all of them

    def __init__(self, service: Service, op: Op[Any], reader: Reader):
        """Begin."""
        self.watch = Stopwatch()
        self._service = service
        self._op = op
        self._reader = reader
        self._race: Race | None = None

    async def check(self, sent: Sent) -> bool:
        """Whether the race may begin; the ServiceError that says why not.

        False if that is left to the process, since the text is too long to be read in this one.
        """
        service = self._service
        if service.racers is not None and len(sent.body) > self._reader.thread_bytes:
            return False
        enter = partial(self._enter, sent.body, query_fields(sent.query))
        race = await service.lane.run(enter, deadline_ms=self._deadline_ms)
        if service.racers is None:
            self._race = race
        return True

    async def run(self, sent: Sent, tell: Tell | None) -> HttpResponse:
        """The report, or the problem that a process met; before that each row goes to `tell`.

        OverloadedError without room; DeadlineExceededError when late.
        """
        if self._service.racers is not None:
            return await self._in_process(self._service.racers, sent, tell)
        assert self._race is not None  # noqa: S101  # it has been checked
        late, loop = Event(), asyncio.get_running_loop()
        told = None if tell is None else lambda row: loop.call_soon_threadsafe(tell, row)
        run = partial(_finished, self._race, told, late.is_set)
        try:
            return await self._service.races.run(run, deadline_ms=self._deadline_ms)
        finally:
            late.set()

    async def _in_process(self, racers: ProcessPool, sent: Sent, tell: Tell | None) -> HttpResponse:
        planner = self._service.engine.planner
        task = WorkerRequest(
            op=self._op.name,
            headers=texts_of(sent.agreed),
            query=sent.query.decode(TEXT),
            request_id=sent.request_id,
            watch=self.watch.reading,
            tells=tell is not None,
            absences=planner.devices.readiness.absences,
            rates=[row for row in planner.rates.rows() if row[0] == self._op.name],
        )
        if len(sent.body) > TIDIED_BYTES:
            self._service.tidy_later()
        head, payload = await racers.run(
            task.to_json(), sent.body, deadline_ms=self._deadline_ms, tell=tell
        )
        return reply_of(head, payload)[0]

    def work(self, task: WorkerRequest, body: Bytes, line: Channel) -> HttpResponse:
        """In a worker process: the report of the race that `run` left to it."""
        race = self._enter(body, query_fields(task.query.encode(TEXT)))
        return _finished(race, line.tell if task.tells else None)

    def refused(self, error: ServiceError) -> HttpResponse:
        """The reply to a race that ended in this error."""
        return response_reply(problem_response(error))

    @property
    def _deadline_ms(self) -> int:
        # A race may take its deadline by estimates, which may be half of the truth.
        return 2 * self._service.settings.deadline_ms

    def _enter(self, body: Bytes, query: Mapping[str, str]) -> Race:
        """The race that the body asks for, or the error that says why there is none."""
        reading = replace(self._service.reading, params=compare.PARAMS)
        call = self._reader.decode(body, self._op, reading, query)
        return compare.prepare_race(
            self._service.engine, call, compare.CompareOptions.of(call.options)
        )


def _never() -> bool:
    return False


def _finished(race: Race, tell: Tell | None, stop: Callable[[], bool] = _never) -> HttpResponse:
    """The report of a race that is run now, until `stop`."""
    rows = []
    for row in race.run(stop):
        rows.append(row)
        if tell is not None:
            tell(row_answer(row).model_dump_json(exclude_unset=True).encode())
    report = report_answer(race.report(rows)).model_dump_json(exclude_unset=True)
    return response_reply(Response(report, media_type="application/json"))
