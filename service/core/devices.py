"""The devices of this host: which there are, which one a call gets, and how to wait for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from service.core.call import AUTO
from service.core.dask_cluster import Cluster, missing_dask
from service.errors import DeviceUnavailableError, DeviceUnreadyError, did_you_mean, quote

CLUSTER: Final = "cluster"


@dataclass(frozen=True, slots=True)
class Device:
    """What calls are computed on. `kind` is `cpu`, `cuda`, or `cluster` for one beyond this host.

    `torch_device` is torch's name for it. With `has_process` a device process computes on it, and
    never this one. Only a cluster has a `cluster`, and the limits of this host's memory are not its
    own.
    """

    name: str
    kind: str
    description: str
    memory_bytes: int | None
    cluster: Cluster | None = None
    torch_device: str = "cpu"
    has_process: bool = False


CPU: Final = Device("cpu", "cpu", "", None)
# Why a device cannot be had now, and after how many seconds it may be asked for again.
Absence = tuple[str, int]


class DeviceReadiness:
    """Which devices cannot be had now. `changes` counts: an older plan may name a lost device."""

    def __init__(self) -> None:
        """Begin with all of them ready."""
        self.absences: Mapping[str, Absence] = {}
        self.changes = 0

    def take(self, absences: Mapping[str, Absence]) -> None:
        """Know that these cannot be had, and all others can."""
        if absences != self.absences:
            # Planners on other threads look into the mapping that they have found.
            self.absences = absences
            self.changes += 1

    def lose(self, device: str, reason: str, retry_after_s: int) -> None:
        """Know that a device cannot be had, and why."""
        self.take({**self.absences, device: (reason, retry_after_s)})

    def regain(self, device: str) -> None:
        """Know that it is there again."""
        self.take({name: each for name, each in self.absences.items() if name != device})

    def reason(self, device: str) -> str | None:
        """Why the device cannot be had now; None if it can."""
        absence = self.absences.get(device)
        return None if absence is None else absence[0]

    def check(self, device: str) -> None:
        """Return if the device can be had, or raise the DeviceUnreadyError that says why not."""
        absence = self.absences.get(device)
        if absence is not None:
            reason, retry_after_s = absence
            error = DeviceUnreadyError(
                f"{device} is not ready: {reason}", hint='"device": "auto" takes what is ready'
            )
            error.retry_after_s = retry_after_s
            raise error


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of this host, the most capable first, and `default`, which `auto` stands for.

    A cluster is the last. `absent` says of a kind that is not here what it would take.
    """

    members: tuple[Device, ...]
    default: str = AUTO
    absent: Mapping[str, str] = field(default_factory=dict)
    readiness: DeviceReadiness = field(default_factory=DeviceReadiness)

    @property
    def ready(self) -> tuple[Device, ...]:
        """The devices that can be had now."""
        absences = self.readiness.absences
        return tuple(each for each in self.members if each.name not in absences)

    def candidates(self, name: str) -> tuple[Device, ...]:
        """Devices that may serve a request for `name`, best first.

        A named device stands alone, so that it is never replaced; DeviceUnavailableError if absent,
        DeviceUnreadyError if it cannot be had now.
        """
        name = self.default if name == AUTO else name
        if name == AUTO:
            return self.ready
        wanted = "cuda:0" if name == "cuda" else name
        for device in self.members:
            if device.name == wanted:
                self.readiness.check(wanted)
                return (device,)
        names = [device.name for device in self.members]
        near = did_you_mean("cuda" if name == "gpu" else name, names)
        raise DeviceUnavailableError(
            f"device {quote(name)} was asked for; this host has {', '.join(names)}",
            hint=near or '"device": "auto" takes what is here',
        )


def host_devices(
    default: str = AUTO, scheduler: str | None = None, *, gpus: Sequence[Device] | None = None
) -> Devices:
    """The devices of this host, and the cluster of a Dask `scheduler` at that address.

    With CUDA: full float32 products, no TF32, in the whole process. `gpus` are those to know of;
    without them all are asked for their properties, which takes memory on each.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if gpus is None:
        gpus = [properties_of(each) for each in named_gpus()]
    cpu = replace(CPU, description=f"{torch.get_num_threads()} intra-op threads")
    if scheduler is None:
        missing = "needs a Dask cluster, which SERVICE_DASK_SCHEDULER would name"
        return Devices((*gpus, cpu), default, {CLUSTER: missing})
    if missing_dask():
        missing = "needs Dask, which the extra [dask] of this service would install"
        return Devices((*gpus, cpu), default, {CLUSTER: missing})
    cluster = Device(CLUSTER, CLUSTER, "a Dask cluster", None, Cluster(scheduler))
    return Devices((*gpus, cpu, cluster), default)


def named_gpus() -> list[Device]:
    """The GPUs of this host by name alone, for a process that leaves them to their owners.

    Counting them initialises no CUDA.
    """
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [Device(name, "cuda", "", None, torch_device=name, has_process=True) for name in names]


def properties_of(device: Device) -> Device:
    """A device that is computed on by this process, with what CUDA tells of it."""
    device = replace(device, has_process=False)
    if device.torch_device == "cpu":
        return device
    gpu = torch.cuda.get_device_properties(device.torch_device)  # pragma: no cover - needs a GPU
    return replace(  # pragma: no cover - needs a GPU
        device, description=gpu.name, memory_bytes=gpu.total_memory
    )


def check_here(device: Device) -> None:
    """Raise a LookupError if another process owns the device: this one may not touch it."""
    if device.has_process:
        raise LookupError(f"{device.name} is computed on by the process that owns it alone")


def settle_on(device: Device) -> None:
    """Have CUDA take this device wherever none is named, and no memory on any other."""
    if device.torch_device != "cpu":
        torch.cuda.set_device(device.torch_device)  # pragma: no cover - needs a GPU


def synchronize(device: Device) -> None:
    """Wait until all work given to the device is done; nothing to wait for elsewhere."""
    if device.torch_device != "cpu":
        torch.cuda.synchronize(device.torch_device)  # pragma: no cover - needs a GPU
