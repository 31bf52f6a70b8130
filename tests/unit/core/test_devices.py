"""Devices of this host, and the choice of one for a call."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from service.core import devices
from service.core.devices import (
    CLUSTER,
    Absence,
    Device,
    DeviceReadiness,
    Devices,
    check_here,
    host_devices,
    named_gpus,
    properties_of,
    settle_on,
    synchronize,
)
from service.errors import DeviceUnavailableError, DeviceUnreadyError
from tests.rigs.requirements import needs

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
    """`auto` gives several candidates, a name gives one."""
    assert Devices(MEMBERS, default).candidates(asked) == found


@pytest.mark.parametrize(
    ("members", "asked", "hint"),
    [
        pytest.param((CPU,), "cuda", '"device": "auto" takes what is here', id="no GPU"),
        pytest.param(MEMBERS, "cuda:2", "did you mean 'cuda:0'?", id="one too many"),
        pytest.param(MEMBERS, "gpu", "did you mean 'cuda'?", id="a GPU"),
        pytest.param(MEMBERS, "GPU:1", "did you mean 'cuda:1'?", id="one of the GPUs"),
        pytest.param(MEMBERS, "CUDA", "did you mean 'cuda'?", id="CUDA in capitals"),
        pytest.param(MEMBERS, "CPU", "did you mean 'cpu'?", id="the CPU in capitals"),
        pytest.param(MEMBERS, "cuda:", "did you mean 'cuda:0'?", id="no number"),
        pytest.param((CPU,), "gpu", '"device": "auto" takes what is here', id="no GPU at all"),
        pytest.param(MEMBERS, "cuda:00", "did you mean 'cuda:0'?", id="another spelling"),
        pytest.param(MEMBERS, "quantum", '"device": "auto" takes what is here', id="unknown"),
        pytest.param(MEMBERS, "", '"device": "auto" takes what is here', id="empty"),
    ],
)
def test_absent_device(members: tuple[Device, ...], asked: str, hint: str) -> None:
    """The error of an absent device lists those of this host; it is never replaced."""
    names = ", ".join(device.name for device in members)
    with pytest.raises(DeviceUnavailableError, match=f"this host has {names}") as caught:
        Devices(members).candidates(asked)
    assert caught.value.hint == hint


def test_a_device_that_is_not_ready() -> None:
    """`auto` leaves it out; an error has the reason, and the time to try again."""
    devices = Devices(MEMBERS)
    readiness = devices.readiness
    readiness.lose("cuda:0", "it died", 7)
    assert devices.candidates("auto") == devices.ready
    assert [device.name for device in devices.ready] == ["cuda:1", "cpu"]
    assert devices.candidates("cuda:1") == (SECOND,)
    for name in ("cuda", "cuda:0"):
        with pytest.raises(DeviceUnreadyError, match="cuda:0 is not ready: it died") as caught:
            devices.candidates(name)
        assert caught.value.retry_after_s == 7
    assert (readiness.reason("cuda:0"), readiness.reason("cpu")) == ("it died", None)
    readiness.regain("cuda:0")
    assert devices.ready == MEMBERS
    readiness.check("cuda:0")


def test_changes_are_counted() -> None:
    """An update without a change is not counted."""
    readiness = DeviceReadiness()
    updates: tuple[tuple[Mapping[str, Absence], int], ...] = (
        ({}, 0),
        ({"cuda:0": ("it died", 7)}, 1),
    )
    for absences, changes in updates:
        for _ in range(2):
            readiness.update(absences)
            assert readiness.changes == changes


def test_gpus_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting the GPUs does not initialise CUDA."""
    loaded = []
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: loaded.append(True))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    first, second = named_gpus()
    assert (first.name, second.name, second.torch_device) == ("cuda:0", "cuda:1", "cuda:1")
    found = host_devices(gpus=[first, second])
    assert found.members[:2] == (first, second)
    with pytest.raises(LookupError, match="cuda:1 is computed on by the process that owns it"):
        check_here(second)
    assert not loaded


def test_an_own_device() -> None:
    """A device on the CPU has no further properties."""
    device = Device("cuda:0", "cuda", "", None, has_process=True)
    assert properties_of(device) == replace(device, has_process=False)
    check_here(properties_of(device))
    settle_on(device)


def test_host_devices() -> None:
    """The GPUs of this host precede its CPU."""
    devices = host_devices()
    names = [device.name for device in devices.members]
    assert names == [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cpu"]
    assert devices.default == "auto"
    assert host_devices("cpu").candidates("auto") == devices.members[-1:]


@pytest.mark.parametrize(("count", "text"), [(1, "1 intra-op thread"), (2, "2 intra-op threads")])
def test_the_threads_of_the_cpu(monkeypatch: pytest.MonkeyPatch, count: int, text: str) -> None:
    """Its description counts them."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    assert host_devices().members[-1].description == text


def test_full_float32_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 is off: a float32 product keeps its 24 bits, and sums of half precision are float32."""
    settings = torch.backends.cuda.matmul
    settings.fp32_precision = "tf32"
    settings.allow_fp16_reduced_precision_reduction = True
    settings.allow_bf16_reduced_precision_reduction = True
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    host_devices()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert settings.fp32_precision == "ieee"
    assert not settings.allow_fp16_reduced_precision_reduction
    assert not settings.allow_bf16_reduced_precision_reduction


def test_precisions() -> None:
    """A device has TF32 if it is described so, or if its process has told that."""
    old, new = Device("cuda:0", "cuda", "", None), Device("cuda:1", "cuda", "", None, has_tf32=True)
    devices = Devices((old, new, CPU))
    for told, precisions in ((set(), ("ieee",)), ({"cuda:0"}, ("ieee", "tf32", "bf16x3"))):
        devices.with_tf32.update(told)
        assert devices.precisions(old) == precisions
        assert devices.precisions(new) == ("ieee", "tf32", "bf16x3")
        assert devices.precisions(CPU) == ("ieee",)


def test_synchronize_cpu() -> None:
    """There is nothing to wait for on a CPU."""
    synchronize(CPU)


def test_no_cluster() -> None:
    """Without a scheduler there is no cluster, and Dask is not imported."""
    assert "SERVICE_DASK_SCHEDULER" in host_devices().absent[CLUSTER]


def test_no_gpu() -> None:
    """Without a GPU, strategies that run on nothing else say that they need one."""
    gpu = Device("cuda:0", "cuda", "", None)
    missing = "needs a GPU with CUDA, which this host does not have"
    assert host_devices(gpus=()).absent["cuda"] == missing
    assert "cuda" not in host_devices(gpus=[gpu]).absent
    script = (
        "import sys, service.bootstrap; print({'dask', 'distributed', 'zarr'} & {*sys.modules})"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_a_cluster_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a scheduler but without Dask, the reason names the missing extra."""
    monkeypatch.setattr(devices, "missing_dask", lambda: True)
    assert "the extra [dask]" in host_devices(scheduler="tcp://127.0.0.1:1").absent[CLUSTER]


@needs("dask")
def test_a_cluster_is_the_last_device() -> None:
    """It exists as soon as a scheduler is configured, without a connection."""
    found = host_devices(scheduler="tcp://127.0.0.1:1").members[-1]
    assert (found.name, found.kind) == (CLUSTER, CLUSTER)
    assert found.cluster is not None
    found.cluster.close()
