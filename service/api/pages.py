"""Files for a browser: their media types, cache rules and security policy.

It knows what a file needs to be served, and no page in particular.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

WEB: Final = Path(__file__).parents[1] / "web"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# A page that may have changed is asked for again; a file named by its content never changes.
FRESH: Final = "no-cache"
LASTING: Final = "public, max-age=31536000, immutable"


def policy(*, images: str = "'self'", more: str = "") -> str:
    """A Content-Security-Policy of files of this host alone; `images` may be drawn from."""
    return (
        f"default-src 'none'; script-src 'self'; connect-src 'self'; img-src {images}; "
        "style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'" + more
    )


@dataclass(frozen=True, slots=True)
class Page:
    """One file as it is sent; the digest names its content, the policy what it may load."""

    body: bytes
    media_type: str
    policy: str
    digest: str

    def answer(self, request: Request, *, cache_control: str) -> Response:
        """The file, or a 304 where the client holds it already."""
        # Weak, since a middleware may compress the body and leave the header as it is.
        etag = f'W/"{self.digest}"'
        headers = {
            "Content-Security-Policy": self.policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": cache_control,
            "ETag": etag,
        }
        known = request.headers.get("If-None-Match", "")
        if etag in {tag.strip() for tag in known.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def page(body: bytes, suffix: str, security: str) -> Page:
    """The page of a file's content, by the ending of the file's name."""
    return Page(body, MEDIA_TYPES[suffix], security, sha256(body).hexdigest()[:16])
