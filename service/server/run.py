"""Start of the app on uvicorn, with uvloop and httptools, in one process or several."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.codecs import number_text
from service.observability.logs import log_config
from service.server.fast_path import FastPathProtocol
from service.server.preflight import raise_file_limit
from service.server.server import Server
from service.server.supervisor import Heartbeat, Supervisor
from service.settings import PREFIX, Settings, from_environment

GRACE_S: Final = 30
log: Final = logging.getLogger("service")


def serve(settings: Settings) -> int:
    """Serve until a signal comes, and return the exit status."""
    with _metrics_dir(settings) as folder:
        connections = raise_file_limit(settings)
        if connections < settings.max_connections:
            log.warning(
                "%d connections may be open, not %d (SERVICE_MAX_CONNECTIONS): the limit of open "
                "files leaves no more; `ulimit -Hn` shows it, LimitNOFILE in a unit raises it",
                connections,
                settings.max_connections,
            )
        if number_text.reason is not None:
            log.warning(
                "Python reads and writes JSON numbers, slower than the extension module: %s",
                number_text.reason,
            )
        settings = settings.model_copy(
            update={"metrics_dir": folder, "max_connections": connections}
        )
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


def _serve_on(listener: socket.socket, heartbeat: Heartbeat) -> None:
    """Serve as one of several server processes, with settings from the environment."""
    settings = from_environment()
    Server(_config(settings), settings, heartbeat).run([listener])


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
    """Yield the folder in which several server processes share their metrics.

    It is the one that is set, or a temporary one. A single process needs none.
    """
    if settings.metrics_dir or settings.workers == 1:
        yield settings.metrics_dir
    else:
        with TemporaryDirectory(prefix="tensor-service-") as folder:
            yield folder
