"""The devices of this host: which there are, which one a call gets, and how to wait for one."""

from dataclasses import dataclass

import torch

from service.call import AUTO
from service.errors import DeviceUnavailableError, did_you_mean, quote


@dataclass(frozen=True, slots=True)
class Device:
    """A device of this host. `kind` is `cpu` or `cuda`."""

    name: str
    kind: str
    description: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of this host, the most capable first, and `default`, which `auto` stands for."""

    members: tuple[Device, ...]
    default: str = AUTO

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


def host_devices(default: str = AUTO) -> Devices:
    """The devices of this host. With CUDA: full float32 products, no TF32, in the whole process."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    gpus = [_gpu(index) for index in range(torch.cuda.device_count())]
    cpu = Device("cpu", "cpu", f"{torch.get_num_threads()} intra-op threads", None)
    return Devices((*gpus, cpu), default)


def _gpu(index: int) -> Device:
    gpu = torch.cuda.get_device_properties(index)  # pragma: no cover - needs a GPU
    return Device(f"cuda:{index}", "cuda", gpu.name, gpu.total_memory)  # pragma: no cover


def synchronize(device: Device) -> None:
    """Wait until all work given to the device is done; nothing to wait for on a CPU."""
    if device.kind != "cpu":
        torch.cuda.synchronize(device.name)  # pragma: no cover - needs a GPU
