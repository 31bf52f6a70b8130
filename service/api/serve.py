"""Runs the app on uvicorn, with uvloop and httptools."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

import uvicorn

from service.api.logs import log_config
from service.api.protocol import Protocol
from service.settings import PREFIX, Settings, SettingsError

GRACE_S: Final = 30
START_S: Final = 60


def check_entry(settings: Settings) -> None:
    """SettingsError if anyone who reaches this host could call, and nobody has said so."""
    if settings.is_open_beyond_loopback:
        raise SettingsError(
            f"{settings.host or 'every address'} can be reached from other hosts, and no key is "
            "asked for. `python -m service key` makes one: set SERVICE_API_KEYS to its hash. Or "
            "listen on 127.0.0.1; or, where something in front asks who calls, set "
            "SERVICE_ALLOW_ANYONE=true"
        )


def serve(settings: Settings) -> None:
    """Serve until a signal ends it; SystemExit if it cannot start."""
    with _metrics_dir(settings) as folder:
        settings = settings.model_copy(update={"metrics_dir": folder})
        # Each server process makes its own app, and reads these settings from the environment.
        for name, value in settings.model_dump(exclude_none=True).items():
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
            log_config=log_config(settings),
            timeout_graceful_shutdown=GRACE_S,
            # torch takes seconds to import: a process that is not up after 5 s, uvicorn's
            # default, would be killed and started again, and again.
            timeout_worker_healthcheck=START_S,
        )


@contextmanager
def _metrics_dir(settings: Settings) -> Iterator[str]:
    """Where several server processes share their figures: as set, or a folder for this run."""
    if settings.metrics_dir or settings.workers == 1:
        yield settings.metrics_dir
    else:
        with TemporaryDirectory(prefix="tensor-service-") as folder:
            yield folder
