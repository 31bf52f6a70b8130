"""The guide at /guide, and resources of JSON as pages in its frame.

Pages are rendered on a thread when they are first asked for, and kept. Until then nothing of
`service.guide` is imported.
"""

from collections.abc import Callable, Coroutine
from functools import cache, lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from service.api.pages import FRESH, LAB_POLICY, LASTING, MEDIA_TYPES, Page, page
from service.codecs.media_types import JSON
from service.core.response import HttpResponse, header_lines
from service.errors import did_you_mean, quote
from service.http.errors import NotFoundError
from service.http.negotiation import headers_of, negotiate
from service.http.problems import problem_answers, problem_kinds

if TYPE_CHECKING:
    from service.guide.site import Site

HTML: Final = "text/html"
# Headers of a problem document that its page has otherwise.
OF_DOCUMENT: Final = (b"content-type", b"content-length")


@cache
def _site() -> "Site":
    from service.guide.site import Site

    return Site()


@cache
def _guide_page(address: str) -> Page:
    suffix = PurePath(address).suffix or ".html"
    return page(_site().contents[address](), suffix, LAB_POLICY)


@lru_cache(maxsize=64)
def _resource_page(path: str, body: bytes, address: str) -> Page:
    """Return the page of a resource, `body` being its JSON."""
    from service.guide.resources import page_of

    content = page_of(path, orjson.loads(body), address)
    return page(_site().frame(content, address).encode(), ".html", LAB_POLICY)


def problem_page(response: HttpResponse, scope: Scope) -> HttpResponse:
    """Return the response of a problem document as one of its page."""
    from service.guide.resources import error_page

    document = orjson.loads(b"".join(response.chunks))
    explanation = problem_kinds()[document["code"]].explanation
    address = _same_depth(scope)
    html = _site().frame(error_page(document | {"explanation": explanation}, address), address)
    kept = [header for header in response.headers if header[0] not in OF_DOCUMENT]
    kept.append((b"content-security-policy", LAB_POLICY.encode()))
    lines = header_lines(kept)
    return HttpResponse.of(MEDIA_TYPES[".html"], (html.encode(),), lines, status=response.status)


def _same_depth(scope: Scope) -> str:
    """Return an address as deep as the path of a request, whose segments may be any text.

    The path counts as it was sent: `%2F` is no slash to a browser, which resolves the links.
    """
    sent: bytes = scope["raw_path"]
    path = sent.decode("latin-1").removeprefix(scope.get("root_path", ""))
    return "-/" * (path.count("/") - 1) + "-"


def guide_routes() -> list[Route]:
    """Return GET /guide, its pages, and the files that they load."""
    return [Route("/guide", _get_guide), Route("/guide/{path:path}", _get_guide)]


# Not async, so that it runs on a thread.
def _get_guide(request: Request) -> Response:
    address = _address(request)
    site = _site()
    if address not in site.contents:
        names = [f"/{site.address(name)}" for name in site.names]
        raise NotFoundError(
            f"the guide has no page {quote(f'/{address}')}; /guide lists all",
            hint=did_you_mean(f"/{address}", names),
        )
    version = request.query_params.get("v")
    is_lasting = version == site.version and address.startswith(site.assets)
    return _answer(request, _guide_page(address), cache_control=LASTING if is_lasting else FRESH)


def _address(request: Request) -> str:
    """Return the path of a request from the root of the service."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).strip("/")


def _answer(request: Request, found: Page, *, cache_control: str = FRESH) -> Response:
    """Return a page, or a redirect to its path without a slash at the end."""
    if request.scope.get("raw_path", b"").endswith(b"/"):
        # Its links are relative to the path without the slash, and so is this one.
        location = f"../{_address(request).rpartition('/')[2]}"
        return Response(status_code=308, headers={"Location": location})
    return found.answer(request, cache_control=cache_control)


def with_page(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route whose JSON is a page for browsers, too."""
    description = "JSON, or a page for browsers, by `Accept`."
    content = {HTML: {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}} | problem_answers(406, *statuses)


class ResourceRoute(APIRoute):
    """A route whose JSON browsers get as a page, if its responses are those of `with_page`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        answer_json = super().get_route_handler()
        if HTML not in self.responses.get(200, {}).get("content", {}):
            return answer_json

        async def answer(request: Request) -> Response:
            wanted = negotiate(headers_of(request.scope["headers"]), (JSON, HTML))
            response = await answer_json(request)
            if wanted == HTML:
                found = await run_in_threadpool(
                    _resource_page, self.path, bytes(response.body), _address(request)
                )
                response = _answer(request, found)
            response.headers["Vary"] = "Accept"
            return response

        return answer
