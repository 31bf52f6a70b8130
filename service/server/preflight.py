"""Checks of the settings against this host before the server starts, and its greeting."""

import errno
import resource
import socket
from importlib.metadata import version
from typing import Final

import torch

from service.core.call import AUTO
from service.core.devices import Devices, host_devices, named_gpus
from service.core.host import cores
from service.core.units import bytes_text, count_text, time_text
from service.errors import DeviceUnavailableError
from service.settings import PREFIX, Settings, SettingsError

# Hosts that mean all addresses, each with one that a browser opens. Nothing listens on these here.
EVERY_ADDRESS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
# Files that a server opens besides connections and worker processes: listeners, logs, stored
# arrays, connections that are being refused.
RESERVED_FILES: Final = 512
# For each worker process: its socket, its shared buffer, and its pidfd.
FILES_PER_WORKER: Final = 3


def check(settings: Settings) -> Settings:
    """Return the settings with port 0 replaced by a free one.

    Raises SettingsError, with a way out, if clients without a key could call from other hosts, or
    if the device or the port is not available.
    """
    _check_exposure(settings)
    _check_device(settings)
    return settings.model_copy(update={"port": claim(settings.host, settings.port)})


def _check_exposure(settings: Settings) -> None:
    if settings.is_open_beyond_loopback:
        raise SettingsError(
            f"{settings.host or 'every address'} can be reached from other hosts, and no key is "
            "asked for. `python -m service key` makes one: set SERVICE_API_KEYS to its hash. Or "
            "listen on 127.0.0.1; or, where something in front asks who calls, set "
            "SERVICE_ALLOW_ANYONE=true"
        )


def _check_device(settings: Settings) -> None:
    try:
        devices_of(settings).candidates(AUTO)
    except DeviceUnavailableError as error:
        is_cuda = settings.device.startswith("cuda")
        hint = _hint_without_gpu() if is_cuda else f"{AUTO} takes what is here"
        raise SettingsError(f"{PREFIX}DEVICE: {error.detail}; {hint}") from None


def devices_of(settings: Settings) -> Devices:
    """Return the devices of this host by their names, without loading CUDA."""
    return host_devices(settings.device, settings.dask_scheduler, gpus=named_gpus())


def _hint_without_gpu() -> str:
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is a build without CUDA: install another "
            "(CONTRIBUTING.md, TORCH_INDEX_URL), or leave the variable out"
        )
    return (
        "nvidia-smi tells what the driver sees, CUDA_VISIBLE_DEVICES hides GPUs; "
        "in a container, run it with --gpus all"
    )


def claim(host: str, port: int) -> int:
    """Return `port`, or a free one for 0; SettingsError if the server cannot listen on it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            # As the server does: a port whose connections have just ended is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except socket.gaierror:
        raise SettingsError(
            f"{PREFIX}HOST: no address is known for {host!r}; 127.0.0.1 is this host alone, "
            "0.0.0.0 all of its addresses"
        ) from None
    except OSError as error:
        raise SettingsError(_bind_failure(host, port, error)) from None


def _bind_failure(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{PREFIX}PORT: another program, perhaps this one, listens on {port}; "
            f"--port {port % 65535 + 1} may be free, --port 0 takes one that is. "
            f"`ss -ltnp 'sport = :{port}'` shows which program it is"
        )
    if error.errno == errno.EACCES:
        return f"{PREFIX}PORT: port {port} is for root alone; take one from 1024 on, as --port 8000"
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{PREFIX}HOST: this host does not have the address {host}; 127.0.0.1 is this host "
            "alone, 0.0.0.0 all of its addresses"
        )
    return f"{PREFIX}HOST, {PREFIX}PORT: cannot listen on {host} port {port}: {error.strerror}"


def raise_file_limit(settings: Settings) -> int:
    """Raise the soft limit of open files as needed, and return how many connections it allows.

    The soft limit (`ulimit -n`) is often 1024, and a process may raise it up to the hard limit.
    Each connection is an open file. The result is at most `max_connections`.
    """
    others = RESERVED_FILES + FILES_PER_WORKER * settings.processes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + others
    if _is_less(soft, wanted):
        soft = hard if _is_less(hard, wanted) else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if not _is_less(soft, wanted):
        return settings.max_connections
    return max(1, soft - others, soft // 2)


def _is_less(limit: int, wanted: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < wanted


def greeting(settings: Settings) -> str:
    """Return five lines: the address, devices, threads and limits, and how to stop the server."""
    devices = devices_of(settings)
    names = ", ".join(device.name for device in devices.members)
    chosen = "what suits the call" if devices.default == AUTO else devices.default
    processes = settings.workers
    return f"""\
tensor service {version("tensor-service")}: open {url(settings)}; \
requests to try: /docs; guide: /guide
  devices  {names}; `auto` takes {chosen}
  threads  {_number(processes, "server process", "es")}{", each" * (processes > 1)} with \
{_number(settings.slots, "slot")} of {_number(settings.threads, "thread")} for \
{_number(cores(), "core")}; {settings.queue} more calls may wait
  limits   body {bytes_text(settings.max_body_bytes)}, call {bytes_text(settings.max_bytes)} \
and {time_text(settings.deadline_ms * 1e6)}, tensor {count_text(settings.max_elements)} elements; \
/guide/settings has the variables
  Ctrl-C   stops it when the calls under way are done"""


def _number(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{plural if count != 1 else ''}"


def url(settings: Settings) -> str:
    """Return the URL to open on this host."""
    host = EVERY_ADDRESS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
