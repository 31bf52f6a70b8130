"""Tests of the checks and the banner before the server starts."""

import errno
import os
import re
import resource
import socket
from collections.abc import Iterator
from resource import RLIM_INFINITY

import pytest
import torch

from service.server import preflight
from service.server.preflight import FILES_PER_WORKER, RESERVED_FILES
from service.settings import Settings, SettingsError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken(taken: int) -> None:
    """The message names a port that may do, and how to find out who has this one."""
    with pytest.raises(SettingsError) as caught:
        preflight.check(Settings(port=taken))
    told = str(caught.value)
    assert told.startswith(f"SERVICE_PORT: another program, perhaps this one, listens on {taken}")
    assert f"--port {taken + 1}" in told
    assert f"ss -ltnp 'sport = :{taken}'" in told


@pytest.mark.parametrize(
    ("number", "told"),
    [
        pytest.param(errno.EACCES, "port 80 is for root alone; take one from 1024 on", id="root"),
        pytest.param(
            errno.EADDRNOTAVAIL, "this host does not have the address 127.0.0.1", id="address"
        ),
        pytest.param(errno.ENOBUFS, "cannot listen on 127.0.0.1 port 80: No buffer", id="other"),
    ],
)
def test_a_port_that_is_refused(number: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reason of the system has its sentence."""

    class Refusing(socket.socket):
        def bind(self, address: object, /) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(SettingsError, match=re.escape(told)):
        preflight.claim("127.0.0.1", 80)


def test_a_name_without_an_address() -> None:
    """The two hosts that are meant most often are named."""
    with pytest.raises(SettingsError, match=r"no address is known for 'nowhere\.invalid'; 127"):
        preflight.claim("nowhere.invalid", 0)


def test_a_free_port_is_kept_and_zero_gets_one(taken: int) -> None:
    """A port whose connections have just ended is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert preflight.check(Settings(port=port)).port == port
    assert preflight.check(Settings(port=0)).port not in {0, taken}


@pytest.mark.parametrize(
    ("device", "told"),
    [
        pytest.param(
            "quantum", "'quantum' was asked for; this host has cpu; auto takes", id="name"
        ),
        pytest.param("cuda:7", "'cuda:7' was asked for; this host has cpu; torch ", id="no GPU"),
    ],
)
def test_a_device_that_is_absent(device: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is refused: each call would be."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SettingsError, match="SERVICE_DEVICE: device ") as caught:
        preflight.check(Settings(device=device, port=0))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("cuda", "told"),
    [
        pytest.param(None, "is a build without CUDA: install another", id="CPU build"),
        pytest.param("13.0", "nvidia-smi tells what the driver sees", id="CUDA build"),
    ],
)
def test_why_there_is_no_gpu(cuda: str | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without CUDA needs another remedy than a GPU that is not seen."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(SettingsError, match=told):
        preflight.check(Settings(device="cuda", port=0))


@pytest.mark.parametrize(
    ("limits", "after", "connections"),
    [
        pytest.param(
            (1024, 4096), 2000 + RESERVED_FILES + FILES_PER_WORKER, 2000, id="raised as needed"
        ),
        pytest.param((4096, 8192), 4096, 2000, id="enough"),
        pytest.param((RLIM_INFINITY, RLIM_INFINITY), RLIM_INFINITY, 2000, id="none"),
        pytest.param(
            (1024, RLIM_INFINITY),
            2000 + RESERVED_FILES + FILES_PER_WORKER,
            2000,
            id="none but the first",
        ),
        pytest.param(
            (1024, 1536), 1536, 1536 - RESERVED_FILES - FILES_PER_WORKER, id="raised to its end"
        ),
        pytest.param((64, 64), 64, 32, id="next to nothing"),
    ],
)
def test_the_limit_of_open_files(
    limits: tuple[int, int], after: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised as far as it may be, and connections stay within it."""
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: now.append(wanted))
    assert preflight.raise_file_limit(Settings(max_connections=2000, processes=1)) == connections
    assert now[-1] == (after, limits[1])


def test_the_greeting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five lines: address, devices, threads, limits, and how to stop it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(preflight, "cores", lambda: 8)
    settings = Settings(workers=2, slots=4, threads=1, queue=9, max_body_bytes=2**20, port=1234)
    first, *lines = preflight.greeting(settings).splitlines()
    assert first.endswith(": open http://127.0.0.1:1234; requests to try: /docs; guide: /guide")
    assert lines == [
        "  devices  cuda:0, cuda:1, cpu; `auto` takes what suits the call",
        (
            "  threads  2 server processes, each with 4 slots of 1 thread for 8 cores; "
            "9 more calls may wait"
        ),
        (
            "  limits   body 1.00 MiB, call 1.00 GiB and 30.0 s, tensor 16,777,216 elements; "
            "/guide/settings has the variables"
        ),
        "  Ctrl-C   stops it when the calls under way are done",
    ]


def test_the_greeting_names_a_default_device() -> None:
    """Which `auto` stands for, then."""
    assert "cpu; `auto` takes cpu\n" in preflight.greeting(Settings(device="cpu"))
    assert "1 server process with" in preflight.greeting(Settings())


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
        ("lab.example.org", "http://lab.example.org:8000"),
    ],
)
def test_an_address_to_open(host: str, url: str) -> None:
    """All addresses are not one that a browser opens."""
    assert preflight.url(Settings(host=host)) == url
