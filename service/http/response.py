"""An answer in its final bytes, before any framework."""

from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Send

from service.codecs import Chunks, Encoded, Writer

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class HttpResponse:
    """Status, headers and body of an answer; the chunks of the body are never joined."""

    status: int
    headers: Headers
    chunks: Chunks


def writer_reply(writer: Writer, encoded: Encoded) -> HttpResponse:
    """The reply of a result that `writer` encoded."""
    return HttpResponse(
        200,
        (
            (b"content-type", writer.media_type.encode()),
            (b"content-length", b"%d" % sum(map(len, encoded.chunks))),
            *encoded.headers,
        ),
        encoded.chunks,
    )


def response_reply(response: Response) -> HttpResponse:
    """A response of the framework, whole, as a reply."""
    return HttpResponse(response.status_code, tuple(response.raw_headers), (bytes(response.body),))


def reply_response(reply: HttpResponse) -> Response:
    """A reply as a response of the framework."""
    response = Response(b"".join(reply.chunks), reply.status)
    response.raw_headers = [*reply.headers]
    return response


async def send_reply(reply: HttpResponse, send: Send) -> None:
    """Send a reply as ASGI messages."""
    start = {"type": "http.response.start", "status": reply.status, "headers": [*reply.headers]}
    await send(start)
    for chunk in reply.chunks[:-1]:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": reply.chunks[-1]})
