"""POST /{op}, /{op}/plan and /{op}/compare: decode, then run, explain or race, then encode."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service import compare
from service.api.content import (
    JSON,
    answer_codec,
    headers_of,
    negotiate,
    query_fields,
    read_body,
    request_codec,
)
from service.api.events import MEDIA_TYPE as EVENTS
from service.api.events import race_events
from service.api.openapi import describe_compare, describe_plan
from service.api.reports import plan_answer, report_answer
from service.api.state import Service
from service.call import Call
from service.plan import Plan
from service.registry import Op
from service.timing import Stopwatch
from service.wire import Codec, Encoded

# A hop to a thread costs about 0.2 ms; decoding 64 KB of JSON costs about that, too.
INLINE_BODY_BYTES: Final = 65_536
INLINE_NS: Final = 200_000
UNLIMITED: Final = 2**1100


def operation_routes(service: Service) -> list[Route]:
    """POST /{op} for every operation of the registry: bare ASGI, without the framework's layers."""
    return [
        Route(f"/{op.name}", Endpoint(service, op), methods=["POST"])
        for op in service.engine.registry.values()
    ]


def explanation_router(service: Service) -> APIRouter:
    """POST /{op}/plan and /{op}/compare for every operation of the registry."""
    router = APIRouter()
    for op in service.engine.registry.values():
        endpoint = Endpoint(service, op)
        for path, post, described in (
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST of the operation itself, with nothing of the framework in between."""
        headers = headers_of(scope)
        reader, writer = request_codec(headers), answer_codec(headers)
        query = query_fields(scope["query_string"])
        self.service.check_ready()
        settings = self.service.settings
        body = await read_body(headers, receive, settings.max_body_bytes)
        watch = Stopwatch()
        answer = partial(self._answer, writer, watch, scope["state"]["request_id"])
        lane = self.service.lane
        if len(body) > INLINE_BODY_BYTES:

            def whole() -> Encoded:
                watch.lap("queue")
                return answer(*self._planned(reader, body, query, watch))

            encoded = await lane.run(whole, deadline_ms=settings.deadline_ms)
        else:
            call, plan = self._planned(reader, body, query, watch)
            if plan.estimated_ns <= INLINE_NS:
                encoded = answer(call, plan)
            else:

                def queued() -> Encoded:
                    watch.lap("queue")
                    return answer(call, plan)

                deadline_ms = call.deadline_ms or settings.deadline_ms
                encoded = await lane.run(queued, deadline_ms=deadline_ms)
        await _send(encoded, writer.media_type, send)

    async def plan(self, request: Request) -> Response:
        """What the call means and costs; nothing is computed."""
        reader = request_codec(request.headers)
        negotiate(request.headers, (JSON,))
        query = query_fields(request.scope["query_string"])
        body = await self._body(request)
        # A plan says itself that a size is over its limit.
        reading = replace(self.service.reading, shapes=True, max_elements=UNLIMITED)

        def explain() -> Response:
            asked = self.service.engine.request(reader.decode(body, self.op, reading, query))
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
        query = query_fields(request.scope["query_string"])
        body = await self._body(request)
        reading = replace(self.service.reading, params=compare.PARAMS)

        def enter() -> compare.Race:
            call = reader.decode(body, self.op, reading, query)
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

    def _planned(
        self, reader: Codec, body: bytearray, query: Mapping[str, str], watch: Stopwatch
    ) -> tuple[Call, Plan]:
        call = reader.decode(body, self.op, self.service.reading, query)
        plan = self.service.engine.plan(call)
        watch.lap("decode")
        return call, plan

    def _answer(
        self, writer: Codec, watch: Stopwatch, request_id: str, call: Call, plan: Plan
    ) -> Encoded:
        outcome = self.service.engine.run(call, plan, watch)
        payload = writer.result(outcome.result, call.output)
        watch.lap("encode")
        return writer.answer(outcome, payload, watch.timings(), request_id)


async def _send(encoded: Encoded, media_type: str, send: Send) -> None:
    """Send an answer as it is: its chunks are never joined."""
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % sum(map(len, encoded.chunks))),
        *encoded.headers,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in encoded.chunks[:-1]:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": encoded.chunks[-1]})


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(exclude_unset=True), media_type=JSON)
