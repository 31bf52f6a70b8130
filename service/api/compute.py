"""POST /{op}, /{op}/plan and /{op}/compare: decode, then run, explain or race, then encode."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.api.asgi import whole_exchange
from service.api.events import MEDIA_TYPE as EVENTS
from service.api.events import RaceEvents
from service.api.openapi.document import describe_compare, describe_plan
from service.codecs import Reader
from service.codecs.stored_arrays import names_array
from service.executors import Hold
from service.http.negotiation import (
    JSON,
    NEGOTIATED,
    formats,
    negotiate,
    query_fields,
    read_body,
    request_codec,
    unless_left,
)
from service.http.response import reply_response, send_reply
from service.http.serializers import plan_answer
from service.observability.tracing import describe_call
from service.pipeline.race import RaceRequest, Sent
from service.pipeline.request import Negotiated
from service.pipeline.service import Service
from service.planning.planner import CallSpec
from service.registry import Op

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
        """Answer a POST of the operation itself, as an ASGI app."""
        state = scope["state"]
        exchange = self.terms(dict(scope["headers"])).begin(state["request_id"])
        state["exchange"] = exchange  # for what is told of it afterwards
        reply = await whole_exchange(exchange, scope, receive)
        describe_call(exchange)
        await send_reply(reply, send)

    def terms(self, headers: Mapping[bytes, bytes]) -> Negotiated:
        """What these raw headers settle, or the error that is known before the body is read."""
        agreed = tuple(map(headers.get, NEGOTIATED))
        return Negotiated(self.service, self.op, *formats(headers), agreed=agreed)

    async def plan(self, request: Request) -> Response:
        """What the call means and costs; nothing is computed."""
        reader = request_codec(request.headers)
        negotiate(request.headers, (JSON,))
        query = query_fields(request.scope["query_string"])
        hold = self.service.bodies.hold()
        try:
            body = await self._body(request, hold)
            return await self._explanation(reader, body, query)
        finally:
            hold.release()

    async def _explanation(
        self, reader: Reader, body: bytearray, query: Mapping[str, str]
    ) -> Response:
        # A plan says itself that a size is over its limit.
        reading = replace(self.service.reading, shapes=True, max_elements=UNLIMITED)

        engine, deadline_ms = self.service.engine, self.service.settings.deadline_ms

        def explain(asked: CallSpec) -> Response:
            return _json(plan_answer(asked, engine.planner.explain(asked)))

        refers = reading.arrays is not None and names_array(body)
        call = None if refers else reader.try_decode(body, self.op, reading, query)
        if call is None:
            call = await self.service.lane.run(
                lambda: reader.decode(body, self.op, reading, query), deadline_ms=deadline_ms
            )
        asked = engine.request(call)
        if engine.plans_at_once(self.op, asked.specs):
            return explain(asked)

        def measured() -> Response:
            engine.measure(self.op, asked.specs[0].dtype)
            return explain(asked)

        return await self.service.lane.run(measured, deadline_ms=deadline_ms)

    async def compare(self, request: Request) -> Response:
        """The race of all strategies: one report, or an event for each rung that is finished."""
        reader = request_codec(request.headers)
        streams = negotiate(request.headers, (JSON, EVENTS)) == EVENTS
        query = request.scope["query_string"]
        query_fields(query)  # refuses keys that stand there twice, before the body is read
        agreed = tuple(map(dict(request.scope["headers"]).get, NEGOTIATED))
        hold = self.service.bodies.hold()
        exchange = RaceRequest(self.service, self.op, reader)
        try:
            body = await self._body(request, hold)
            sent = Sent(body, query, agreed, request.scope["state"]["request_id"])
            is_checked = await exchange.check(sent)
        except BaseException:
            hold.release()
            raise
        events = RaceEvents()
        racing = asyncio.ensure_future(exchange.run(sent, events.tell if streams else None))
        racing.add_done_callback(lambda _: hold.release())
        if streams:
            response = events.response(racing, at_once=is_checked)
            return await unless_left(response, request.receive)
        return reply_response(await unless_left(racing, request.receive))

    async def _body(self, request: Request, hold: Hold) -> bytearray:
        self.service.check_ready()
        limit = self.service.settings.max_body_bytes
        return await read_body(request.headers, request.receive, limit, hold)


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(exclude_unset=True), media_type=JSON)
