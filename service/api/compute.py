"""POST /{op}, /{op}/plan and /{op}/compare of every operation, and of chains.

No route has a body parameter: the framework would parse what the codecs parse.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api.asgi import framework_response, read_body, unless_disconnected
from service.api.events import MEDIA_TYPE as EVENTS
from service.api.events import RaceEvents
from service.api.openapi.document import describe_chain_plan, describe_compare, describe_plan
from service.codecs.media_types import JSON
from service.core.response import HttpResponse
from service.http.negotiation import (
    FORMAT_HEADERS,
    headers_of,
    negotiate,
    query_fields,
    reader_for,
)
from service.pipeline.application import Endpoint
from service.pipeline.chain import ChainEndpoint
from service.pipeline.dispatch import dispatch, prepare
from service.pipeline.gradients import GradientsEndpoint
from service.pipeline.operation import OperationEndpoint
from service.pipeline.plan import ChainPlanRequest, PlanRequest
from service.pipeline.race import RaceRequest
from service.pipeline.request import Negotiated
from service.pipeline.service import Service
from service.registry import Op


def operation_endpoints(service: Service) -> dict[str, Endpoint]:
    """Return the endpoints that the pipeline serves without FastAPI, by path."""
    operations = service.engine.registry.values()
    return {
        **{f"/{op.name}": OperationEndpoint(service, op) for op in operations},
        f"/{service.chain.name}": ChainEndpoint(service),
        **{f"/{name}": GradientsEndpoint(service, op) for name, op in service.gradients.items()},
    }


def plan_and_race_router(service: Service) -> APIRouter:
    """Return POST /{op}/plan and /{op}/compare for every operation, and for chains."""
    router = APIRouter()
    chain = service.chain
    described = [
        (PlanAndRaceRoutes(service, chain, ChainPlanRequest), describe_chain_plan(chain)),
        *(
            (PlanAndRaceRoutes(service, op), describe_plan(op))
            for op in service.engine.registry.values()
        ),
    ]
    for routes, plan in described:
        op = routes.op
        router.add_api_route(f"/{op.name}/plan", routes.plan, methods=["POST"], **plan)
        race = describe_compare(op)
        router.add_api_route(f"/{op.name}/compare", routes.compare, methods=["POST"], **race)
    return router


@dataclass(frozen=True, slots=True)
class PlanAndRaceRoutes:
    """The plan and the race of one operation, or of chains.

    A ServiceError is answered further out.
    """

    service: Service
    op: Op[Any]
    plan_request: type[PlanRequest] = PlanRequest

    async def plan(self, request: Request) -> Response:
        """Answer with the meaning and the cost of a call; nothing is computed."""
        negotiated, _ = self._negotiate(request, JSON)
        query = request.scope["query_string"]
        query_fields(query)  # refuses a key that is twice there, before the body is read
        plan = self.plan_request(negotiated, request.scope["state"]["request_id"])
        try:
            body = await read_body(dict(request.scope["headers"]), request.receive, plan)
            response = plan.respond(body, query)
            if not isinstance(response, HttpResponse):
                response = await response
            return framework_response(response)
        finally:
            plan.release()

    async def compare(self, request: Request) -> Response:
        """Answer with the report of a race, or with an event for each strategy of it."""
        negotiated, media_type = self._negotiate(request, JSON, EVENTS)
        query = request.scope["query_string"]
        query_fields(query)
        race = RaceRequest(negotiated, request.scope["state"]["request_id"])
        try:
            race.start(
                await read_body(dict(request.scope["headers"]), request.receive, race), query
            )
            await prepare(race)
        except BaseException:
            race.release()
            raise
        events = RaceEvents(race.request_id)
        if media_type == EVENTS:
            race.emit = events.emit_row
        racing = asyncio.ensure_future(dispatch(race))
        racing.add_done_callback(lambda _: race.release())
        if media_type == EVENTS:
            response = events.response(racing, at_once=race.is_prepared)
            return await unless_disconnected(response, request.receive)
        return framework_response(await unless_disconnected(racing, request.receive))

    def _negotiate(self, request: Request, *served: str) -> tuple[Negotiated, str]:
        """Return the formats of body and answer; the answer is one of `served`."""
        raw = dict(request.scope["headers"])
        headers = headers_of(raw.items())
        reader, media_type = reader_for(headers), negotiate(headers, served)
        given = tuple(map(raw.get, FORMAT_HEADERS))
        return Negotiated(self.service, self.op, reader, headers=given), media_type
