"""Rates of a strategy, and its share of what its device could do at its peak rates: a roofline."""

from dataclasses import dataclass

from service.planning.cost_model import Peak
from service.planning.peaks import PRODUCT_DTYPES
from service.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Rates:
    """Arithmetic and memory traffic of a run by its time.

    `peak_share` is the time that the device would need at its peak rates, over the time of the run.
    It is None until the peak rates are measured. It may exceed 1 by a little: to read alone can
    be faster than the copy that the peak rate of bytes is measured by.
    """

    gflops: float
    gb_per_s: float
    peak_share: float | None


def curves_of(plan: Plan, peak: Peak, ns: float) -> Rates | None:
    """Return the rates of a run that took `ns`; None for a view, which computes nothing.

    Operands and result count once, however often a strategy reads and writes them.
    """
    operations, moved = plan.inferred.operations, plan.sizes.outer_bytes
    if operations == 0 or ns == 0:
        return None
    gflops, gb_per_s = operations / ns, moved / ns  # in a nanosecond: in 10^9 a second
    limits = [(gb_per_s, peak.gb_per_s)]
    if plan.inferred.specs[0].dtype in PRODUCT_DTYPES[plan.device.kind]:
        limits.append((gflops, peak.gflops))
    shares = [rate / limit for rate, limit in limits if limit is not None]
    # Without one of its limits, a call would seem to use less of the machine than it does.
    share = max(shares) if len(shares) == len(limits) else None
    return Rates(gflops, gb_per_s, share)
