"""Runs the app on uvicorn, with uvloop and httptools."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.observability.logs import log_config
from service.server.fast_path import FastPathProtocol
from service.server.preflight import make_room
from service.server.shutdown import Server
from service.server.supervisor import Supervisor
from service.settings import PREFIX, Settings, SettingsError, from_environment

GRACE_S: Final = 30
log: Final = logging.getLogger("service")


def check_entry(settings: Settings) -> None:
    """SettingsError if anyone who reaches this host could call, and nobody has said so."""
    if settings.is_open_beyond_loopback:
        raise SettingsError(
            f"{settings.host or 'every address'} can be reached from other hosts, and no key is "
            "asked for. `python -m service key` makes one: set SERVICE_API_KEYS to its hash. Or "
            "listen on 127.0.0.1; or, where something in front asks who calls, set "
            "SERVICE_ALLOW_ANYONE=true"
        )


def serve(settings: Settings) -> int:
    """Serve until a signal ends it; the status to exit with."""
    with _metrics_dir(settings) as folder:
        room = make_room(settings)
        if room < settings.max_connections:
            log.warning(
                "%d connections may be open, not %d (SERVICE_MAX_CONNECTIONS): the limit of open "
                "files leaves no more; `ulimit -Hn` shows it, LimitNOFILE in a unit raises it",
                room,
                settings.max_connections,
            )
        settings = settings.model_copy(update={"metrics_dir": folder, "max_connections": room})
        # Each server process makes its own app, and reads these settings from the environment.
        for name, value in settings.model_dump(exclude_none=True).items():
            os.environ[PREFIX + name.upper()] = str(value)
        return _serve_by_one(settings) if settings.workers == 1 else _serve_by_many(settings)


def _serve_by_one(settings: Settings) -> int:
    server = Server(_config(settings), settings)
    server.run()
    return 0 if server.started else STARTUP_FAILURE


def _serve_by_many(settings: Settings) -> int:
    with _config(settings).bind_socket() as listener:
        return Supervisor(_serve_on, settings.workers, listener).run()


def _serve_on(listener: socket.socket) -> None:
    """Be one of several server processes, which get their settings by the environment."""
    settings = from_environment()
    Server(_config(settings), settings).run([listener])


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "service.api.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=FastPathProtocol,
        proxy_headers=False,
        ws="none",
        server_header=False,
        access_log=False,
        log_config=log_config(settings),
        timeout_graceful_shutdown=GRACE_S,
    )


@contextmanager
def _metrics_dir(settings: Settings) -> Iterator[str]:
    """Where several server processes share their figures: as set, or a folder for this run."""
    if settings.metrics_dir or settings.workers == 1:
        yield settings.metrics_dir
    else:
        with TemporaryDirectory(prefix="tensor-service-") as folder:
            yield folder
