"""An exchange whose body is received as an ASGI app does it."""

from starlette.types import Receive, Scope

from service.http.negotiation import headers_of, read_body, unless_left
from service.http.response import HttpResponse
from service.pipeline.request import OperationRequest


async def whole_exchange(
    exchange: OperationRequest, scope: Scope, receive: Receive
) -> HttpResponse:
    """The reply of an exchange, whose body is yet to be received."""
    service = exchange.service
    hold = service.bodies.hold()
    try:
        limit = service.settings.max_body_bytes
        body = await read_body(headers_of(scope["headers"]), receive, limit, hold)
        reply = exchange.respond(body, scope["query_string"])
        del body  # the exchange holds it for no longer than it must
        return reply if isinstance(reply, HttpResponse) else await unless_left(reply, receive)
    finally:
        hold.release()
