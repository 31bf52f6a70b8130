"""The devices of this host: which there are, which one a call gets, and how to wait for one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from service.call import AUTO
from service.cluster import Cluster, missing_dask
from service.errors import DeviceUnavailableError, did_you_mean, quote

CLUSTER: Final = "cluster"


@dataclass(frozen=True, slots=True)
class Device:
    """What calls are computed on. `kind` is `cpu`, `cuda`, or `cluster` for one beyond this host.

    Only that has a `cluster`, and the limits of this host's memory are not its own.
    """

    name: str
    kind: str
    description: str
    memory_bytes: int | None
    cluster: Cluster | None = None


CPU: Final = Device("cpu", "cpu", "", None)


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of this host, the most capable first, and `default`, which `auto` stands for.

    A cluster is the last. `absent` says of a kind that is not here what it would take.
    """

    members: tuple[Device, ...]
    default: str = AUTO
    absent: Mapping[str, str] = field(default_factory=dict)

    def candidates(self, name: str) -> tuple[Device, ...]:
        """Devices that may serve a request for `name`, best first.

        A named device stands alone, so that it is never replaced; DeviceUnavailableError if absent.
        """
        name = self.default if name == AUTO else name
        if name == AUTO:
            return self.members
        wanted = "cuda:0" if name == "cuda" else name
        for device in self.members:
            if device.name == wanted:
                return (device,)
        names = [device.name for device in self.members]
        raise DeviceUnavailableError(
            f"device {quote(name)} was asked for; this host has {', '.join(names)}",
            hint=did_you_mean(name, names) or '"device": "auto" takes what is here',
        )


def host_devices(
    default: str = AUTO, scheduler: str | None = None, *, only_names: bool = False
) -> Devices:
    """The devices of this host, and the cluster of a Dask `scheduler` at that address.

    With CUDA: full float32 products, no TF32, in the whole process. `only_names` asks no GPU for
    its properties: that would take memory on it, for a process that computes nothing.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    found = range(torch.cuda.device_count())
    gpus = [_named_gpu(index) if only_names else _gpu(index) for index in found]
    cpu = replace(CPU, description=f"{torch.get_num_threads()} intra-op threads")
    if scheduler is None:
        missing = "needs a Dask cluster, which SERVICE_DASK_SCHEDULER would name"
        return Devices((*gpus, cpu), default, {CLUSTER: missing})
    if missing_dask():
        missing = "needs Dask, which the extra [dask] of this service would install"
        return Devices((*gpus, cpu), default, {CLUSTER: missing})
    cluster = Device(CLUSTER, CLUSTER, "a Dask cluster", None, Cluster(scheduler))
    return Devices((*gpus, cpu, cluster), default)


def _named_gpu(index: int) -> Device:
    return Device(f"cuda:{index}", "cuda", "", None)


def _gpu(index: int) -> Device:
    gpu = torch.cuda.get_device_properties(index)  # pragma: no cover - needs a GPU
    return Device(f"cuda:{index}", "cuda", gpu.name, gpu.total_memory)  # pragma: no cover


def synchronize(device: Device) -> None:
    """Wait until all work given to the device is done; nothing to wait for elsewhere."""
    if device.kind == "cuda":
        torch.cuda.synchronize(device.name)  # pragma: no cover - needs a GPU
