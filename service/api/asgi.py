"""Requests of the pipeline as ASGI: bodies received, responses sent.

ASGI and Starlette are converted to values of the pipeline, and back, in this module alone.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.guide import HTML, problem_page
from service.codecs.media_types import JSON
from service.core.response import HttpResponse
from service.errors import MalformedJsonError, OutOfMemoryError
from service.http.negotiation import headers_of, prefers
from service.http.problems import error_response, internal_error, is_inference_path
from service.observability.tracing import describe_call
from service.pipeline.application import Endpoint
from service.pipeline.request import PipelineRequest

T = TypeVar("T")


class EndpointApp:
    """A POST endpoint of an operation as an ASGI application."""

    def __init__(self, endpoint: Endpoint):
        """Serve `endpoint`."""
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a ServiceError is answered further out."""
        await respond_asgi(self._endpoint, scope, receive, send)


async def respond_asgi(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Receive a request of an operation, and send its response.

    The request is left in the state of the scope, to be recorded.
    """
    state, headers = scope["state"], dict(scope["headers"])
    state["endpoint"] = endpoint
    request = endpoint.negotiate(headers).begin(state["request_id"])
    state["request"] = request
    try:
        body = await read_body(headers, receive, request)
        response = request.respond(body, scope["query_string"])
        del body  # the request holds it for no longer than it must
        if not isinstance(response, HttpResponse):
            response = await unless_disconnected(response, receive)
    finally:
        request.release()
    describe_call(request)
    await send_response(response, send)


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, request: PipelineRequest
) -> bytearray:
    """Return the whole body, in one buffer.

    Its bytes are counted before they are kept: BodyTooLargeError, OverloadedError,
    OutOfMemoryError. MalformedJsonError for one that is shorter than stated.
    """
    declared = headers.get(b"content-length", b"")
    length = int(declared) if declared.isdigit() else 0
    request.count(length, f"Content-Length is {length}")
    try:
        body = bytearray(length)
    except MemoryError:
        raise OutOfMemoryError(f"there is no memory for a body of {length} bytes") from None
    end = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        start, end = end, end + len(chunk)
        request.count(end, "more was sent")
        body[start:end] = chunk
        if not message.get("more_body", False):
            break
    if end < length:
        raise MalformedJsonError(f"the body ended after {end} of {length} bytes")
    return body


async def unless_disconnected(coming: Awaitable[T], receive: Receive) -> T:
    """Return the result of `coming`; cancel it and raise ClientDisconnect if the client leaves.

    The whole body has been read, so that `receive` returns nothing else.
    """
    answering = asyncio.ensure_future(coming)
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


async def send_response(response: HttpResponse, send: Send) -> None:
    """Send a response as ASGI messages."""
    headers = [*response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    for chunk in response.chunks[:-1]:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": response.chunks[-1]})


def framework_response(response: HttpResponse) -> Response:
    """Return a response of the pipeline as one of the framework."""
    found = Response(b"".join(response.chunks), response.status)
    found.raw_headers = [*response.headers]
    return found


async def send_error(error: Exception, scope: Scope, send: Send) -> None:
    """Send the response to a request that ended in `error`."""
    await send_response(await scope_error_response(error, scope), send)


async def answer_error(request: Request, error: Any) -> Response:
    """Return the response to a ServiceError on a route of the framework."""
    return framework_response(await scope_error_response(error, request.scope))


async def answer_fault(request: Request, _: Exception) -> Response:
    """Return the response to any other error there; the framework raises it again, to be logged."""
    error = internal_error(request.scope["state"]["request_id"])
    return framework_response(await scope_error_response(error, request.scope))


async def scope_error_response(error: Exception, scope: Scope) -> HttpResponse:
    """Return the response to an error, in the form of the path that was requested.

    A browser that asks for a page gets one. Errors of the service itself stay short: a fault may
    lie in what draws pages, and a busy service has no time for them.
    """
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    inference = is_inference_path(path)
    response = error_response(error, scope["state"]["request_id"], inference=inference)
    if scope["method"] != "GET" or inference or response.status >= 500:
        return response
    response.lines += b"vary: Accept\r\n"
    if prefers(headers_of(scope["headers"]), HTML, JSON):
        return await run_in_threadpool(problem_page, response, scope)
    return response
