"""The docs page: Swagger UI from installed files, with no word from another host.

It knows file names and headers, and nothing of the operations: the page reads openapi.json.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WEB = Path(__file__).parents[1] / "web"
OUR_ASSETS = ("docs.css", "docs.js")
SWAGGER_ASSETS = ("favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css")
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}
SECURITY = {
    # Swagger UI's style sheet draws its icons from data: URLs; nothing else needs an exception.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file as it is sent: its bytes, their media type and a digest that names them."""

    body: bytes
    media_type: str
    digest: str

    def answer(self, request: Request, *, cache_control: str) -> Response:
        """The file, or a 304 where the client holds it already."""
        # Weak, since a middleware may compress the body and leave the header as it is.
        etag = f'W/"{self.digest}"'
        headers = {**SECURITY, "Cache-Control": cache_control, "ETag": etag}
        known = request.headers.get("If-None-Match", "")
        if etag in {tag.strip() for tag in known.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def docs_routes(package: str = "fastapi_swagger") -> list[Route]:
    """GET /docs and the files that it loads, from this package and from `package`."""
    paths = {name: WEB / name for name in OUR_ASSETS}
    paths |= {name: _swagger_folder(package) / name for name in SWAGGER_ASSETS}

    @cache
    def asset(name: str) -> Page:
        return _page(paths[name].read_bytes(), paths[name].suffix)

    @cache
    def front() -> Page:
        # A digest in each URL lets a browser keep the file for good and still see its successor.
        html = (WEB / "docs.html").read_text(encoding="utf-8")
        for name in paths:
            html = html.replace(f"assets/{name}", f"assets/{name}?v={asset(name).digest}")
        return _page(html.encode(), ".html")

    async def get_front(request: Request) -> Response:
        return front().answer(request, cache_control="no-cache")

    async def get_asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in paths:
            raise HTTPException(404, f"No such file. The docs page loads {', '.join(paths)}.")
        current = request.query_params.get("v") == asset(name).digest
        lasting = "public, max-age=31536000, immutable" if current else "no-cache"
        return asset(name).answer(request, cache_control=lasting)

    return [Route("/docs", get_front), Route("/docs/assets/{name}", get_asset)]


def _page(body: bytes, suffix: str) -> Page:
    return Page(body, MEDIA_TYPES[suffix], sha256(body).hexdigest()[:16])


def _swagger_folder(package: str) -> Path:
    # Found, never imported: only its files are wanted, not the FastAPI plugin around them.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"/docs serves the files of {package}: install it", name=package)
    return Path(spec.submodule_search_locations[0]) / "resources"
