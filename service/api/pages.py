"""Pages for a browser: the lab page, Swagger UI, and the files that they load.

Every file comes from this package or from an installed one, with a Content-Security-Policy that
allows no other host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WEB: Final = Path(__file__).parents[1] / "web"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# A page that may have changed is asked for again; a file named by its content never changes.
FRESH: Final = "no-cache"
LASTING: Final = "public, max-age=31536000, immutable"


def policy(*, images: str = "'self'", framed_by: str = "'none'", more: str = "") -> str:
    """Return a Content-Security-Policy for files of this host alone, and images of `images`.

    Pages of the origins `framed_by` may frame the page.
    """
    return (
        f"default-src 'none'; script-src 'self'; connect-src 'self'; img-src {images}; "
        f"style-src 'self'; frame-ancestors {framed_by}; base-uri 'none'; form-action 'none'" + more
    )


OUR_ASSETS: Final = ("docs.css", "docs.js")
SWAGGER_ASSETS: Final = ("favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css")
# Swagger UI's style sheet draws its icons from data: URLs; nothing else needs an exception.
SWAGGER_POLICY: Final = policy(images="'self' data:")
LAB_FOLDER: Final = WEB / "lab"
LAB_FRONT: Final = "index.html"
# No text becomes markup or code: a browser with Trusted Types refuses the sinks themselves.
TRUSTED: Final = "; require-trusted-types-for 'script'; trusted-types 'none'"
LAB_POLICY: Final = policy(more=TRUSTED)


@dataclass(frozen=True, slots=True)
class Page:
    """A file as it is sent; the digest names its content, the policy limits what it may load."""

    body: bytes
    media_type: str
    policy: str
    digest: str

    def answer(self, request: Request, *, cache_control: str) -> Response:
        """Return the file, or a 304 if the client has it already."""
        # Weak, since a middleware may compress the body and leave the header as it is.
        etag = f'W/"{self.digest}"'
        headers = {
            "Content-Security-Policy": self.policy,
            "Cache-Control": cache_control,
            "ETag": etag,
        }
        known = request.headers.get("If-None-Match", "")
        if etag in {tag.strip() for tag in known.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def page(body: bytes, suffix: str, security: str) -> Page:
    """Return the page of a file's content, by the suffix of the file's name."""
    return Page(body, MEDIA_TYPES[suffix], security, sha256(body).hexdigest()[:16])


def docs_routes(package: str = "fastapi_swagger") -> list[Route]:
    """Return GET /docs and the files that it loads, from this package and from `package`."""
    paths = {name: WEB / name for name in OUR_ASSETS}
    paths |= {name: _swagger_folder(package) / name for name in SWAGGER_ASSETS}

    @cache
    def asset(name: str) -> Page:
        return page(paths[name].read_bytes(), paths[name].suffix, SWAGGER_POLICY)

    @cache
    def front() -> Page:
        # A digest in each URL lets a browser keep the file for good and still see its successor.
        html = (WEB / "docs.html").read_text(encoding="utf-8")
        for name in paths:
            html = html.replace(f"assets/{name}", f"assets/{name}?v={asset(name).digest}")
        return page(html.encode(), ".html", SWAGGER_POLICY)

    async def get_front(request: Request) -> Response:
        if request.scope.get("raw_path", b"").endswith(b"/"):
            # Its links are relative to the path without the slash, and so is this one.
            return Response(status_code=308, headers={"Location": "../docs"})
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


def lab_routes(folder: Path = LAB_FOLDER, framed_by: Sequence[str] = ()) -> list[Route]:
    """Return GET / and the files that it loads from `folder`, under a path with their digest.

    With `?embed=1` the page has no header, tour and footer, and pages of the origins `framed_by`
    may frame it.
    """
    names = sorted(path.name for path in folder.iterdir() if path.suffix in MEDIA_TYPES)

    @cache
    def asset(name: str) -> Page:
        path = folder / name
        return page(path.read_bytes(), path.suffix, LAB_POLICY)

    # One digest for all: a module imports its neighbours by relative names, so the folder's name
    # has to change with any of them. Then a browser may keep each file for good.
    @cache
    def version() -> str:
        return sha256("".join(asset(name).digest for name in names).encode()).hexdigest()[:16]

    @cache
    def front(*, is_embedded: bool) -> Page:
        html = asset(LAB_FRONT).body.decode().replace('"lab/', f'"lab/{version()}/')
        # All modules at once, instead of each when the one that imports it has come.
        modules = (name for name in names if name.endswith(".js"))
        links = "\n    ".join(
            f'<link rel="modulepreload" href="lab/{version()}/{name}">' for name in modules
        )
        html = html.replace("<!-- modules -->", links)
        if is_embedded:
            # Links open beside the page that frames this one, not in its frame.
            html = html.replace("<title>", '<base target="_blank">\n    <title>')
            html = html.replace('class="drawing"', 'class="drawing embedded"')
            security = policy(framed_by=" ".join(framed_by) or "'none'", more=TRUSTED)
            return page(html.encode(), ".html", security)
        if framed_by:
            html = html.replace('class="drawing"', 'class="drawing" data-embeddable')
        return page(html.encode(), ".html", LAB_POLICY)

    async def get_front(request: Request) -> Response:
        is_embedded = request.query_params.get("embed") == "1"
        return front(is_embedded=is_embedded).answer(request, cache_control=FRESH)

    async def get_asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names or name == LAB_FRONT:
            raise HTTPException(404, f"No such file. The lab page loads {', '.join(names)}.")
        current = request.path_params["version"] == version()
        return asset(name).answer(request, cache_control=LASTING if current else FRESH)

    return [Route("/", get_front), Route("/lab/{version}/{name}", get_asset)]
