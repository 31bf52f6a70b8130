"""What a start finds on this host: what stands in its way, and what there is to serve with."""

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

# A host that means all addresses, and one of them to open. Here nothing listens on them.
EVERY_ADDRESS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def check(settings: Settings) -> Settings:
    """The settings, port 0 made a free one; SettingsError that says what stands in the way."""
    try:
        devices_of(settings).candidates(AUTO)
    except DeviceUnavailableError as error:
        hint = _why_no_gpu() if settings.device.startswith("cuda") else f"{AUTO} takes what is here"
        raise SettingsError(f"{PREFIX}DEVICE: {error.detail}; {hint}") from None
    return settings.model_copy(update={"port": claim(settings.host, settings.port)})


def devices_of(settings: Settings) -> Devices:
    """The devices of this host, by their names alone."""
    return host_devices(settings.device, settings.dask_scheduler, gpus=named_gpus())


def _why_no_gpu() -> str:
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
    """`port`, or a free one for 0, on which the server can listen; SettingsError if it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server itself does: connections that have just ended keep no port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror:
        raise SettingsError(
            f"{PREFIX}HOST: no address is known for {host!r}; 127.0.0.1 is this host alone, "
            "0.0.0.0 all of its addresses"
        ) from None
    except OSError as error:
        raise SettingsError(_refused(host, port, error)) from None


def _refused(host: str, port: int, error: OSError) -> str:
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


def greeting(settings: Settings) -> str:
    """Five lines: where it is, its devices, its threads, its limits, and how to stop it."""
    devices = devices_of(settings)
    names = ", ".join(device.name for device in devices.members)
    chosen = "what suits the call" if devices.default == AUTO else devices.default
    processes = settings.workers
    return f"""\
tensor service {version("tensor-service")}: open {url(settings)}; requests to try: /docs
  devices  {names}; `auto` takes {chosen}
  threads  {_number(processes, "server process", "es")}{", each" * (processes > 1)} with \
{_number(settings.slots, "slot")} of {_number(settings.threads, "thread")} for \
{_number(cores(), "core")}; {settings.queue} more calls may wait
  limits   body {bytes_text(settings.max_body_bytes)}, call {bytes_text(settings.max_bytes)} \
and {time_text(settings.deadline_ms * 1e6)}, tensor {count_text(settings.max_elements)} elements; \
docs/settings.md has the variables
  Ctrl-C   stops it when the calls under way are done"""


def _number(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}{plural if count != 1 else ''}"


def url(settings: Settings) -> str:
    """The address to open on this host."""
    host = EVERY_ADDRESS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


# What a server opens besides: listeners, logs, stored arrays, connections that are being refused.
OTHERS: Final = 512
# Of each worker process its socket, its arena, and what stands for it.
OF_WORKER: Final = 3


def make_room(settings: Settings) -> int:
    """How many connections there is room for: as set, or what the limit of open files leaves.

    The limit (`ulimit -n`) is often 1024 and may be raised by the process itself, up to another.
    """
    others = OTHERS + OF_WORKER * settings.processes
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
