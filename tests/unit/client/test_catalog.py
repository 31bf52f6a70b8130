"""Tests of operations and devices as they are shown."""

from tensor_service_client.catalog import Devices, Operation, Operations, Strategy

STRATEGY = {
    "op": "norm",
    "name": "triton",
    "summary": "A kernel.",
    "dtypes": {"cpu": [], "cuda": ["float32", "float64"]},
    "available": False,
    "reason": "needs a GPU",
}
NORM = {
    "name": "norm",
    "summary": "A norm.",
    "operands": ["x"],
    "strategies": [STRATEGY, STRATEGY | {"name": "torch", "available": True, "reason": None}],
}
CPU = {
    "name": "cpu",
    "kind": "cpu",
    "description": "2 threads",
    "memory_bytes": None,
    "ready": True,
}


def test_operations() -> None:
    """A table of strategies for each."""
    found = Operations([Operation(NORM)])
    lines = repr(found).splitlines()
    assert lines[:2] == ["1 operations", "norm(x): A norm."]
    assert [line.split() for line in lines[4:]] == [
        ["triton", "NO", "A", "kernel."],
        ["torch", "yes", "A", "kernel."],
    ]
    assert repr(found[0]).splitlines() == lines[1:]
    assert found.to_dict() == {"norm": NORM}


def test_a_strategy() -> None:
    """Its dtypes by device, and why it is not available."""
    triton, torch = Operation(NORM).strategies
    assert repr(triton).splitlines() == [
        "strategy triton of norm: A kernel.",
        "cuda: float32, float64",
        "not available: needs a GPU",
    ]
    assert "not available" not in repr(torch)


def test_the_arithmetic_of_a_strategy() -> None:
    """Precisions if there are several, wider sums, and bits that may differ."""
    found = {"precisions": ["ieee", "tf32"], "accumulates_in": "float32", "deterministic": False}
    assert repr(Strategy(STRATEGY | found)).splitlines()[2:5] == [
        "float32 products: ieee, tf32",
        "sums of float16 and bfloat16: float32",
        "not deterministic",
    ]
    plain = {"precisions": ["ieee"], "accumulates_in": None, "deterministic": True}
    assert repr(Strategy(STRATEGY | plain)) == repr(Strategy(STRATEGY))


def test_devices() -> None:
    """Memory, and why one is not ready."""
    gpu = CPU | {"name": "cuda:0", "memory_bytes": 2**30, "ready": False, "reason": "starting"}
    lines = repr(Devices({"devices": [CPU, gpu], "default": "auto"})).splitlines()
    assert lines[0] == "devices; the default is auto"
    assert lines[3].split() == ["cpu", "cpu", "-", "yes", "2", "threads"]
    assert "1.00 GiB  NO: starting" in lines[4]


def test_what_a_device_is_for() -> None:
    """Its precisions if there are several, and the size from which it is faster."""
    wins = {"op": "matmul", "dtype": "float32", "n": 1024}
    gpu = CPU | {"name": "cuda:0", "precisions": ["ieee", "tf32"], "wins_from": wins}
    cpu = CPU | {"precisions": ["ieee"], "wins_from": None}
    lines = repr(Devices({"devices": [cpu, gpu], "default": "auto"})).splitlines()
    assert lines[5:] == [
        "cuda:0: float32 products in ieee, tf32",
        "cuda:0: faster than the CPU from matmul of float32 with n = 1,024",
    ]
