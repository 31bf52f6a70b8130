"""The lab page at `/`: our own HTML, CSS and ES modules, as they lie in service/web/lab.

It knows file names, and nothing of the operations: the page asks the service for them.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.pages import FRESH, LASTING, MEDIA_TYPES, WEB, Page, page, policy

FOLDER: Final = WEB / "lab"
FRONT: Final = "index.html"
# No text becomes markup or code: a browser that knows Trusted Types refuses the sinks themselves.
POLICY: Final = policy(more="; require-trusted-types-for 'script'; trusted-types 'none'")


def lab_routes(folder: Path = FOLDER) -> list[Route]:
    """GET / and the files that it loads from `folder`, under a path that names their content."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in MEDIA_TYPES)

    @cache
    def asset(name: str) -> Page:
        path = folder / name
        return page(path.read_bytes(), path.suffix, POLICY)

    # One digest for all: a module imports its neighbours by relative names, so the folder's name
    # has to change with any of them. Then a browser may keep each file for good.
    @cache
    def version() -> str:
        return sha256("".join(asset(name).digest for name in names).encode()).hexdigest()[:16]

    @cache
    def front() -> Page:
        html = asset(FRONT).body.decode().replace('"lab/', f'"lab/{version()}/')
        # All modules at once, instead of each when the one that imports it has come.
        modules = (name for name in names if name.endswith(".js"))
        links = "\n    ".join(
            f'<link rel="modulepreload" href="lab/{version()}/{name}">' for name in modules
        )
        html = html.replace("<!-- modules -->", links)
        return page(html.encode(), ".html", POLICY)

    async def get_front(request: Request) -> Response:
        return front().answer(request, cache_control=FRESH)

    async def get_asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names or name == FRONT:
            raise HTTPException(404, f"No such file. The lab page loads {', '.join(names)}.")
        current = request.path_params["version"] == version()
        return asset(name).answer(request, cache_control=LASTING if current else FRESH)

    return [Route("/", get_front), Route("/lab/{version}/{name}", get_asset)]
