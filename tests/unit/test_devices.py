"""Which device a call gets."""

import subprocess
import sys

import pytest
import torch

from service import devices
from service.devices import CLUSTER, Device, Devices, host_devices, synchronize
from service.errors import DeviceUnavailableError
from tests.needs import needs

CPU = Device("cpu", "cpu", "2 intra-op threads", None)
FIRST = Device("cuda:0", "cuda", "a GPU", 2**34)
SECOND = Device("cuda:1", "cuda", "a GPU", 2**34)
MEMBERS = (FIRST, SECOND, CPU)


@pytest.mark.parametrize(
    ("default", "asked", "found"),
    [
        pytest.param("auto", "auto", MEMBERS, id="auto is all of them"),
        pytest.param("auto", "cpu", (CPU,), id="a named one stands alone"),
        pytest.param("auto", "cuda", (FIRST,), id="cuda is the first"),
        pytest.param("auto", "cuda:1", (SECOND,), id="a numbered one"),
        pytest.param("cuda:1", "auto", (SECOND,), id="auto is the default"),
        pytest.param("cuda", "auto", (FIRST,), id="the default may be cuda"),
        pytest.param("cpu", "cuda:0", (FIRST,), id="a name overrules the default"),
    ],
)
def test_candidates(default: str, asked: str, found: tuple[Device, ...]) -> None:
    """`auto` leaves the choice open, a name does not."""
    assert Devices(MEMBERS, default).candidates(asked) == found


@pytest.mark.parametrize(
    ("members", "asked", "hint"),
    [
        pytest.param((CPU,), "cuda", '"device": "auto" takes what is here', id="no GPU"),
        pytest.param(MEMBERS, "cuda:2", "did you mean 'cuda:1'?", id="one too many"),
        pytest.param(MEMBERS, "cuda:00", "did you mean 'cuda:0'?", id="another spelling"),
        pytest.param(MEMBERS, "quantum", '"device": "auto" takes what is here', id="unknown"),
        pytest.param(MEMBERS, "", '"device": "auto" takes what is here', id="empty"),
    ],
)
def test_absent_device(members: tuple[Device, ...], asked: str, hint: str) -> None:
    """A device that is absent is refused with those that are here, never replaced."""
    names = ", ".join(device.name for device in members)
    with pytest.raises(DeviceUnavailableError, match=f"this host has {names}") as caught:
        Devices(members).candidates(asked)
    assert caught.value.hint == hint


def test_host_devices() -> None:
    """This host has its GPUs, then its CPU."""
    devices = host_devices()
    names = [device.name for device in devices.members]
    assert names == [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cpu"]
    assert devices.default == "auto"
    assert "intra-op threads" in devices.members[-1].description
    assert host_devices("cpu").candidates("auto") == devices.members[-1:]


def test_full_float32_products() -> None:
    """TF32 is off: a float32 product keeps its 24 bits."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    host_devices()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_synchronize_cpu() -> None:
    """There is nothing to wait for on a CPU."""
    synchronize(CPU)


def test_a_cluster_that_nobody_named() -> None:
    """Without a scheduler there is no cluster, and Dask is not imported."""
    assert "SERVICE_DASK_SCHEDULER" in host_devices().absent[CLUSTER]
    script = "import sys, service.core; print({'dask', 'distributed', 'zarr'} & {*sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_a_cluster_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler is named and Dask is not installed: what it would take is said."""
    monkeypatch.setattr(devices, "missing_dask", lambda: True)
    assert "the extra [dask]" in host_devices(scheduler="tcp://127.0.0.1:1").absent[CLUSTER]


@needs("dask")
def test_a_cluster_is_the_last_device() -> None:
    """It is there as soon as it is named; nothing is connected to."""
    found = host_devices(scheduler="tcp://127.0.0.1:1").members[-1]
    assert (found.name, found.kind) == (CLUSTER, CLUSTER)
    assert found.cluster is not None
    found.cluster.close()
