"""How long each phase of a request took. Nanoseconds inside, milliseconds on the wire."""

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

PHASES: Final = ("decode", "queue", "upload", "compute", "download", "encode")


@dataclass(frozen=True, slots=True)
class Timings:
    """Disjoint phases of one request, in nanoseconds, that add up to its total.

    decode    bytes to checked operands: parsing, shapes, admission, proof that integers fit
    queue     waiting for a place
    upload    operands to the device
    compute   the strategy alone, synchronised
    download  result to the host
    encode    result to bytes
    """

    decode_ns: int = 0
    queue_ns: int = 0
    upload_ns: int = 0
    compute_ns: int = 0
    download_ns: int = 0
    encode_ns: int = 0

    @property
    def total_ns(self) -> int:
        """The sum of all phases."""
        return sum(getattr(self, f"{phase}_ns") for phase in PHASES)

    def milliseconds(self) -> dict[str, float]:
        """Each phase and the total, as `{phase}_ms`, to the microsecond."""
        wire = {f"{phase}_ms": _milliseconds(getattr(self, f"{phase}_ns")) for phase in PHASES}
        return wire | {"total_ms": _milliseconds(self.total_ns)}

    def server_timing(self) -> str:
        """The value of a `Server-Timing` header (W3C), in milliseconds."""
        phases = [(phase, getattr(self, f"{phase}_ns")) for phase in PHASES]
        return ", ".join(
            f"{name};dur={_milliseconds(ns):g}" for name, ns in [*phases, ("total", self.total_ns)]
        )


def _milliseconds(ns: int) -> float:
    return round(ns / 1e6, 6)


class Stopwatch:
    """Splits the time since it was made into phases: each lap ends where the next begins."""

    __slots__ = ("_laps", "_last")

    def __init__(self, started_ns: int | None = None):
        """Start now, or at an earlier reading of `perf_counter_ns`."""
        self._last = perf_counter_ns() if started_ns is None else started_ns
        self._laps = dict.fromkeys(PHASES, 0)

    def lap(self, phase: str) -> None:
        """Give the time since the last lap to `phase`."""
        now = perf_counter_ns()
        self._laps[phase] += now - self._last
        self._last = now

    def timings(self) -> Timings:
        """The phases so far."""
        return Timings(**{f"{phase}_ns": ns for phase, ns in self._laps.items()})
