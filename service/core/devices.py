"""Devices of this host: detection, readiness, choice for a call, and synchronisation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from service.core.arithmetic import IEEE, PRECISIONS
from service.core.call import AUTO
from service.core.dask_cluster import Cluster, missing_dask
from service.errors import DeviceUnavailableError, DeviceUnreadyError, did_you_mean, quote

CLUSTER: Final = "cluster"
# What torch's allocator on the CPU says when memory has run out, and CUDA and its library of matrix
# products.
HOST_EXHAUSTED: Final = "DefaultCPUAllocator"
CUDA_EXHAUSTED: Final = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
# cuBLAS reads it when it starts: with buffers of one size its products are deterministic, which
# torch demands. They take 32 MB, as by default on newer GPUs.
WORKSPACE: Final = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# The compute capability of the first GPUs with TF32 and bfloat16.
AMPERE: Final = 8


@dataclass(frozen=True, slots=True)
class Device:
    """Device that computes calls: `kind` is `cpu`, `cuda`, or `cluster`.

    `torch_device` is torch's name of it. With `has_process` only a device process computes on it,
    and never this process. `cluster` is set for a Dask cluster, to which the limits of this host's
    memory do not apply. With `has_tf32` it multiplies float32 in TF32 and in parts of bfloat16.
    """

    name: str
    kind: str
    description: str
    memory_bytes: int | None
    cluster: Cluster | None = None
    torch_device: str = "cpu"
    has_process: bool = False
    has_tf32: bool = False


CPU: Final = Device("cpu", "cpu", "", None)
# The reason why a device is not ready, and the seconds after which a client may try again.
Absence = tuple[str, int]


class DeviceReadiness:
    """Devices that are not ready. `changes` counts updates: older plans may use a lost device."""

    def __init__(self) -> None:
        """Begin with all devices ready."""
        self.absences: Mapping[str, Absence] = {}
        self.changes = 0

    def update(self, absences: Mapping[str, Absence]) -> None:
        """Replace the absences; all other devices are ready."""
        if absences != self.absences:
            # The mapping is replaced, not changed: planners on other threads may be reading it.
            self.absences = absences
            self.changes += 1

    def lose(self, device: str, reason: str, retry_after_s: int) -> None:
        """Record that a device is not ready, and why."""
        self.update({**self.absences, device: (reason, retry_after_s)})

    def regain(self, device: str) -> None:
        """Record that a device is ready again."""
        self.update({name: each for name, each in self.absences.items() if name != device})

    def reason(self, device: str) -> str | None:
        """Return why a device is not ready; None if it is."""
        absence = self.absences.get(device)
        return None if absence is None else absence[0]

    def check(self, device: str) -> None:
        """Raise DeviceUnreadyError, with the reason, if a device is not ready."""
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
    """Devices of this host, the most capable first, and the `default` that `auto` stands for.

    A cluster is the last. `absent` maps a kind that this host lacks to what it needs. `with_tf32`
    has the names of devices whose processes have told that they have TF32.
    """

    members: tuple[Device, ...]
    default: str = AUTO
    absent: Mapping[str, str] = field(default_factory=dict)
    readiness: DeviceReadiness = field(default_factory=DeviceReadiness)
    with_tf32: set[str] = field(default_factory=set)

    def precisions(self, device: Device) -> tuple[str, ...]:
        """Return the precisions that a device has for float32 products."""
        return PRECISIONS if device.has_tf32 or device.name in self.with_tf32 else (IEEE,)

    @property
    def ready(self) -> tuple[Device, ...]:
        """The devices that are ready."""
        absences = self.readiness.absences
        if not absences:
            return tuple(self.members)
        return tuple(each for each in self.members if each.name not in absences)

    def candidates(self, name: str) -> tuple[Device, ...]:
        """Return the devices that may serve a request for `name`, best first.

        A named device is the only one, so that it is never replaced by another. Raises
        DeviceUnavailableError if it does not exist, DeviceUnreadyError if it is not ready.
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
        kinds = {device.kind for device in self.members if device.kind != device.name}
        near = did_you_mean(name.lower().replace("gpu", "cuda"), [*kinds, *names])
        raise DeviceUnavailableError(
            f"device {quote(name)} was asked for; this host has {', '.join(names)}",
            hint=near or '"device": "auto" takes what is here',
        )


def host_devices(
    default: str = AUTO, scheduler: str | None = None, *, gpus: Sequence[Device] | None = None
) -> Devices:
    """Return the devices of this host, and the cluster of a Dask `scheduler` at an address.

    With CUDA, products have full precision in the whole process: float32 without TF32, unless a
    request asks for it, and half-precision dtypes with sums in float32. `gpus` are the GPUs to use;
    by default the properties of all are read, which takes memory on each.
    """
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    os.environ.setdefault(*WORKSPACE)
    if gpus is None:
        gpus = [properties_of(each) for each in named_gpus()]
    threads = torch.get_num_threads()
    cpu = replace(CPU, description=f"{threads} intra-op thread{'s' if threads > 1 else ''}")
    absent = {} if gpus else {"cuda": "needs a GPU with CUDA, which this host does not have"}
    if scheduler is None:
        missing = "needs a Dask cluster, which SERVICE_DASK_SCHEDULER would name"
        return Devices((*gpus, cpu), default, {**absent, CLUSTER: missing})
    if missing_dask():
        missing = "needs Dask, which the extra [dask] of this service would install"
        return Devices((*gpus, cpu), default, {**absent, CLUSTER: missing})
    cluster = Device(CLUSTER, CLUSTER, "a Dask cluster", None, Cluster(scheduler))
    return Devices((*gpus, cpu, cluster), default, absent)


def named_gpus() -> list[Device]:
    """Return the GPUs of this host by name, for a process that does not compute on them.

    Counting them does not initialise CUDA.
    """
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [Device(name, "cuda", "", None, torch_device=name, has_process=True) for name in names]


def properties_of(device: Device) -> Device:
    """Return a device for use by this process, with its properties from CUDA."""
    device = replace(device, has_process=False)
    if device.torch_device == "cpu":
        return device
    gpu = torch.cuda.get_device_properties(device.torch_device)  # pragma: no cover - needs a GPU
    return replace(  # pragma: no cover - needs a GPU
        device,
        description=gpu.name,
        memory_bytes=gpu.total_memory,
        has_tf32=gpu.major >= AMPERE,
    )


def check_here(device: Device) -> None:
    """Raise LookupError if the device has a process of its own: this one may not use it."""
    if device.has_process:
        raise LookupError(f"{device.name} is computed on by the process that owns it alone")


def settle_on(device: Device) -> None:
    """Make it CUDA's current device, so that CUDA takes no memory on any other."""
    if device.torch_device != "cpu":
        torch.cuda.set_device(device.torch_device)  # pragma: no cover - needs a GPU


def synchronize(device: Device) -> None:
    """Wait until a CUDA device has done all work; other devices are synchronous."""
    if device.torch_device != "cpu":
        torch.cuda.synchronize(device.torch_device)  # pragma: no cover - needs a GPU


def is_exhausted(error: BaseException) -> bool:
    """Return whether memory has run out, that of the host or of another device."""
    if is_host_exhausted(error) or isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in CUDA_EXHAUSTED)


def is_host_exhausted(error: BaseException) -> bool:
    """Return whether the memory of the host has run out, which torch says in a RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and HOST_EXHAUSTED in str(error)


def exhausted_name(error: BaseException, device: Device) -> str:
    """Return whose memory has run out: the name of `device`, or "this host" beside a GPU."""
    return "this host" if device.kind != CPU.kind and is_host_exhausted(error) else device.name
