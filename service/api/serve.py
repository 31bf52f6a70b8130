"""Runs the app on uvicorn, with uvloop and httptools."""

import os
from typing import Final

import uvicorn

from service.api.protocol import Protocol
from service.settings import PREFIX, Settings

GRACE_S: Final = 30


def serve(settings: Settings) -> None:
    """Serve until a signal ends it; SystemExit if it cannot start."""
    # Each server process makes its own app, and reads these settings from the environment.
    for name, value in settings.model_dump().items():
        os.environ[PREFIX + name.upper()] = str(value)
    uvicorn.run(
        "service.api.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=Protocol,
        proxy_headers=False,
        ws="none",
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
