"""POST /{op}, /{op}/plan and /{op}/compare: decode, then run, explain or race, then encode."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import compare
from service.api.content import JSON, answer_codec, negotiate, read_body, request_codec
from service.api.events import MEDIA_TYPE as EVENTS
from service.api.events import race_events
from service.api.openapi import describe_compare, describe_operation, describe_plan
from service.api.reports import plan_answer, report_answer
from service.api.state import Service
from service.call import Call
from service.plan import Plan
from service.registry import Op
from service.timing import Stopwatch
from service.wire import Codec, Reading

# A hop to a thread costs about 0.2 ms; decoding 64 KB of JSON costs about that, too.
INLINE_BODY_BYTES: Final = 65_536
INLINE_NS: Final = 200_000
UNLIMITED: Final = 2**1100


def operations_router(service: Service) -> APIRouter:
    """POST /{op}, /{op}/plan and /{op}/compare for every operation of the registry."""
    router = APIRouter()
    for op in service.engine.registry.values():
        endpoint = Endpoint(service, op)
        for path, post, described in (
            (f"/{op.name}", endpoint.post, describe_operation(op)),
            (f"/{op.name}/plan", endpoint.plan, describe_plan(op)),
            (f"/{op.name}/compare", endpoint.compare, describe_compare(op)),
        ):
            router.add_api_route(path, post, methods=["POST"], **described)
    return router


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation over HTTP. A ServiceError becomes its problem document further out.

    No route has a body parameter: FastAPI would parse what the codec parses.
    """

    service: Service
    op: Op[Any]

    async def post(self, request: Request) -> Response:
        """The result."""
        reader, writer = request_codec(request.headers), answer_codec(request.headers)
        body = await self._body(request)
        watch = Stopwatch()
        answer = partial(self._answer, writer, watch, request.state.request_id)
        lane, deadline_ms = self.service.lane, self.service.settings.deadline_ms
        if len(body) > INLINE_BODY_BYTES:

            def whole() -> Response:
                watch.lap("queue")
                return answer(*self._planned(reader, body, watch))

            return await lane.run(whole, deadline_ms=deadline_ms)
        call, plan = self._planned(reader, body, watch)
        if plan.estimated_ns <= INLINE_NS:
            return answer(call, plan)

        def queued() -> Response:
            watch.lap("queue")
            return answer(call, plan)

        return await lane.run(queued, deadline_ms=call.deadline_ms or deadline_ms)

    async def plan(self, request: Request) -> Response:
        """What the call means and costs; nothing is computed."""
        reader = request_codec(request.headers)
        negotiate(request.headers, (JSON,))
        body = await self._body(request)
        # A plan says itself that a size is over its limit.
        reading = replace(self.service.reading, shapes=True, max_elements=UNLIMITED)

        def explain() -> Response:
            asked = self.service.engine.request(self._decode(reader, body, reading))
            found = self.service.engine.planner.explain(asked)
            return _json(plan_answer(asked, found))

        if len(body) <= INLINE_BODY_BYTES:
            return explain()
        deadline_ms = self.service.settings.deadline_ms
        return await self.service.lane.run(explain, deadline_ms=deadline_ms)

    async def compare(self, request: Request) -> Response:
        """The race of all strategies: one report, or an event for each rung that is finished."""
        reader = request_codec(request.headers)
        events = negotiate(request.headers, (JSON, EVENTS)) == EVENTS
        body = await self._body(request)
        reading = replace(self.service.reading, params=compare.PARAMS)

        def enter() -> compare.Race:
            call = self._decode(reader, body, reading)
            return compare.enter(self.service.engine, call, compare.Options.of(call.options))

        # A race may take its deadline by estimates, which may be half of the truth.
        deadline_ms = 2 * self.service.settings.deadline_ms
        race = await self.service.lane.run(enter, deadline_ms=deadline_ms)
        if events:
            return race_events(race, self.service.races)

        def last() -> Response:
            *_, report = race.run()
            return _json(report_answer(report))  # type: ignore[arg-type]  # it comes last

        return await self.service.races.run(last, deadline_ms=deadline_ms)

    async def _body(self, request: Request) -> bytearray:
        self.service.check_ready()
        limit = self.service.settings.max_body_bytes
        return await read_body(request.headers, request.receive, limit)

    def _decode(self, reader: Codec, body: bytearray, reading: Reading) -> Call:
        return reader.decode(body, self.op, reading)

    def _planned(self, reader: Codec, body: bytearray, watch: Stopwatch) -> tuple[Call, Plan]:
        call = self._decode(reader, body, self.service.reading)
        plan = self.service.engine.plan(call)
        watch.lap("decode")
        return call, plan

    def _answer(
        self, writer: Codec, watch: Stopwatch, request_id: str, call: Call, plan: Plan
    ) -> Response:
        outcome = self.service.engine.run(call, plan, watch)
        payload = writer.result(outcome.result, call.output)
        watch.lap("encode")
        timings = watch.timings()
        content = writer.answer(outcome, payload, timings, request_id)
        headers = {"Server-Timing": timings.server_timing()}
        return Response(content, headers=headers, media_type=writer.media_type)


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(exclude_unset=True), media_type=JSON)
