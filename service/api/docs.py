"""The docs page: Swagger UI from installed files, with no word from another host.

It knows file names, and nothing of the operations: the page reads openapi.json.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.pages import FRESH, LASTING, WEB, Page, page, policy

OUR_ASSETS = ("docs.css", "docs.js")
SWAGGER_ASSETS = ("favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css")
# Swagger UI's style sheet draws its icons from data: URLs; nothing else needs an exception.
POLICY: Final = policy(images="'self' data:")


def docs_routes(package: str = "fastapi_swagger") -> list[Route]:
    """GET /docs and the files that it loads, from this package and from `package`."""
    paths = {name: WEB / name for name in OUR_ASSETS}
    paths |= {name: _swagger_folder(package) / name for name in SWAGGER_ASSETS}

    @cache
    def asset(name: str) -> Page:
        return page(paths[name].read_bytes(), paths[name].suffix, POLICY)

    @cache
    def front() -> Page:
        # A digest in each URL lets a browser keep the file for good and still see its successor.
        html = (WEB / "docs.html").read_text(encoding="utf-8")
        for name in paths:
            html = html.replace(f"assets/{name}", f"assets/{name}?v={asset(name).digest}")
        return page(html.encode(), ".html", POLICY)

    async def get_front(request: Request) -> Response:
        return front().answer(request, cache_control=FRESH)

    async def get_asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in paths:
            raise HTTPException(404, f"No such file. The docs page loads {', '.join(paths)}.")
        current = request.query_params.get("v") == asset(name).digest
        return asset(name).answer(request, cache_control=LASTING if current else FRESH)

    return [Route("/docs", get_front), Route("/docs/assets/{name}", get_asset)]


def _swagger_folder(package: str) -> Path:
    # Found, never imported: only its files are wanted, not the FastAPI plugin around them.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"/docs serves the files of {package}: install it", name=package)
    return Path(spec.submodule_search_locations[0]) / "resources"
