"""How long each phase of a request took. Nanoseconds inside, milliseconds on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

import orjson

PHASES: Final = ("decode", "queue", "upload", "compute", "download", "encode")
NS_PER_MS: Final = 1_000_000
DECODE, QUEUE, UPLOAD, COMPUTE, DOWNLOAD, ENCODE = range(len(PHASES))


@dataclass(slots=True)  # frozen ones take 2 us to make
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

    def texts(self) -> tuple[bytes, ...]:
        """Milliseconds of each phase and of the total, as JSON numbers."""
        decode, queue, upload = self.decode_ns, self.queue_ns, self.upload_ns
        compute, download, encode = self.compute_ns, self.download_ns, self.encode_ns
        total = decode + queue + upload + compute + download + encode
        nanoseconds = (decode, queue, upload, compute, download, encode, total)
        # orjson writes seven floats in a third of the time that %-formatting takes.
        return tuple(orjson.dumps([ns / 1e6 for ns in nanoseconds])[1:-1].split(b","))


def timing_json(texts: tuple[bytes, ...]) -> bytes:
    """`{phase}_ms` of each phase and the total: the inside of a JSON object."""
    return _JSON % texts


def server_timing(texts: tuple[bytes, ...]) -> bytes:
    """The value of a `Server-Timing` header (W3C)."""
    return _HEADER % texts


_JSON: Final = ",".join(f'"{phase}_ms":%b' for phase in (*PHASES, "total")).encode()
_HEADER: Final = ", ".join(f"{phase};dur=%b" for phase in (*PHASES, "total")).encode()


class Stopwatch:
    """Splits the time since it was made into phases: each lap ends where the next begins.

    `laps` has the nanoseconds of each phase so far, in the order of PHASES.
    """

    __slots__ = ("_last", "laps")

    def __init__(self, started_ns: int | None = None):
        """Start now, or at an earlier reading of `perf_counter_ns`."""
        self.laps = [0] * len(PHASES)
        self._last = perf_counter_ns() if started_ns is None else started_ns

    def lap(self, phase: int) -> None:
        """Give the time since the last lap to a phase, such as DECODE."""
        now = perf_counter_ns()
        self.laps[phase] += now - self._last
        self._last = now

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds until the last lap."""
        return sum(self.laps) // NS_PER_MS

    @property
    def reading(self) -> list[int]:
        """What another process of this host needs to go on with it: its clock is the same."""
        return [self._last, *self.laps]

    @classmethod
    def resume(cls, reading: Sequence[int]) -> "Stopwatch":
        """Go on where another process was."""
        watch = cls(reading[0])
        watch.laps[:] = reading[1:]
        return watch

    @property
    def timings(self) -> Timings:
        """The phases so far."""
        return Timings(*self.laps)
