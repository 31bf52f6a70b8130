"""POST /{op}: three verbs in a row, decode, run, encode, each where it belongs."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api.content import answer_codec, read_body, request_codec
from service.api.openapi import describe_operation
from service.api.state import Service
from service.call import Call
from service.plan import Plan
from service.registry import Op
from service.timing import Stopwatch
from service.wire import Codec

# A hop to a thread costs about 0.2 ms; decoding 64 KB of JSON costs about that, too.
INLINE_BODY_BYTES: Final = 65_536
INLINE_NS: Final = 200_000


def operations_router(service: Service) -> APIRouter:
    """POST /{op} for every operation of the registry."""
    router = APIRouter()
    for op in service.engine.registry.values():
        endpoint = Endpoint(service, op)
        router.add_api_route(
            f"/{op.name}", endpoint.post, methods=["POST"], **describe_operation(op)
        )
    return router


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation over HTTP."""

    service: Service
    op: Op[Any]

    async def post(self, request: Request) -> Response:
        """The answer; a ServiceError becomes its problem document further out.

        There is no body parameter: FastAPI would parse what the codec parses.
        """
        settings = self.service.settings
        reader, writer = request_codec(request.headers), answer_codec(request.headers)
        self.service.check_ready()
        body = await read_body(request.headers, request.receive, settings.max_body_bytes)
        watch = Stopwatch()
        answer = partial(self._answer, writer, watch, request.state.request_id)
        if len(body) > INLINE_BODY_BYTES:

            def whole() -> Response:
                watch.lap("queue")
                return answer(*self._decode(reader, body, watch))

            return await self.service.lane.run(whole, deadline_ms=settings.deadline_ms)
        call, plan = self._decode(reader, body, watch)
        if plan.estimated_ns <= INLINE_NS:
            return answer(call, plan)

        def queued() -> Response:
            watch.lap("queue")
            return answer(call, plan)

        deadline_ms = call.deadline_ms or settings.deadline_ms
        return await self.service.lane.run(queued, deadline_ms=deadline_ms)

    def _decode(self, reader: Codec, body: bytearray, watch: Stopwatch) -> tuple[Call, Plan]:
        call = reader.decode(body, self.op, self.service.reading)
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
