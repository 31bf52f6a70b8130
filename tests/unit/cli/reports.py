"""Reports of races and sweeps with every kind of row."""

import math
from dataclasses import replace

import torch

from service.compare import Report, Row
from service.compare.agreement import Agreement
from service.compare.rates import Rates
from service.compare.reference import Basis
from service.compare.report import Host
from service.compare.sweep import Point, Sweep
from service.core.call import Spec
from service.planning.cost_model import Peak

PEAKS = {"cpu": Peak(135.2, 11.4), "cuda:0": Peak()}
HOST = Host("A processor", 2, ("cuda:0", "cpu"), {"python": "3.11", "torch": "2"}, PEAKS)
BASIS = Basis("exact arithmetic", 4, 4)
EXACT = Agreement(0.0, 0.0, 0, None, basis=BASIS)
NEAR = Agreement(1e-6, 1e-6, 0, (0, 1), 2.5, basis=BASIS)
WRONG = Agreement(math.inf, math.inf, 2, (1, 0))
ONE_WRONG = Agreement(1.0, 1.0, 1, ())

SLOW = Row("loops", "cpu", 9_000, (9_000,), NEAR, rates=Rates(2.1e-5, 0.0123, 1 / 1_312_000))
QUICK = Row("torch", "cpu", 1_000, (1_000, 1_200, 1_400), EXACT, rates=Rates(118, 2, 0.874))
GPU = Row("torch", "cuda:0", 100, (100, 110), WRONG)
NUMBER = Row("numpy", "cpu", 100, (100, 110), ONE_WRONG, rates=Rates(1, 1, None))
DEAR = Row("python", "cpu", 10**13, skipped="would take hours")
NO_GPU = "needs a GPU with CUDA, which this host does not have"
ABSENT = tuple(
    Row(name, device, None, skipped=reason, is_available=False)
    for device in ("cuda:0", "cpu")
    for name, reason in (("cuda", NO_GPU), ("numba", "needs numba"), ("triton", NO_GPU))
)
ABSENT_LINES = [
    f"not on this server: cuda, triton ({NO_GPU})",
    "not on this server: numba (needs numba)",
]
UNABLE = Row("dot", "cpu", None, skipped="does not take int8")


def report(*rows: Row, baseline: str | None = "loops") -> Report:
    """Return a report of these rows."""
    specs = (Spec((2, 2), torch.float32), Spec((2, 2), torch.float32))
    return Report("matmul", specs, 8, baseline, HOST, rows)


def sweep() -> Sweep:
    """Return a sweep of two sizes on two devices; the loops are skipped at the second size."""
    stopped = replace(SLOW, times_ns=(), agreement=None, skipped="too slow")
    races = (report(SLOW, QUICK, GPU, UNABLE), report(stopped, QUICK, GPU, UNABLE))
    return Sweep(tuple(Point(n, race) for n, race in zip((2, 4), races, strict=True)), None)
