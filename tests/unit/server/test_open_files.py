"""Open files: the limit is raised as far as it may be, and connections stay within it."""

import resource
from resource import RLIM_INFINITY

import pytest

from service.server.preflight import OF_WORKER, OTHERS, make_room
from service.settings import Settings


@pytest.mark.parametrize(
    ("limits", "after", "room"),
    [
        pytest.param((1024, 4096), 2000 + OTHERS + OF_WORKER, 2000, id="raised as needed"),
        pytest.param((4096, 8192), 4096, 2000, id="enough"),
        pytest.param((RLIM_INFINITY, RLIM_INFINITY), RLIM_INFINITY, 2000, id="none"),
        pytest.param(
            (1024, RLIM_INFINITY), 2000 + OTHERS + OF_WORKER, 2000, id="none but the first"
        ),
        pytest.param((1024, 1536), 1536, 1536 - OTHERS - OF_WORKER, id="raised to its end"),
        pytest.param((64, 64), 64, 32, id="next to nothing"),
    ],
)
def test_room(
    limits: tuple[int, int], after: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as many connections as are set, where that can be had."""
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: now.append(wanted))
    assert make_room(Settings(max_connections=2000, processes=1)) == room
    assert now[-1] == (after, limits[1])
