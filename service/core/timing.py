"""Phases of one request. Nanoseconds inside, milliseconds on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

import orjson

PHASES: Final = ("decode", "queue", "upload", "compile", "compute", "download", "encode")
DECODE, QUEUE, UPLOAD, COMPILE, COMPUTE, DOWNLOAD, ENCODE = range(len(PHASES))
NS_PER_MS: Final = 1_000_000
NO_PHASES: Final[Sequence[int]] = (0,) * len(PHASES)

Mark = tuple[int, int]


@dataclass(slots=True)
class Stopwatch:
    """Splits the time of one request into phases that follow each other without a gap.

    decode    bytes to checked operands: parsing, shapes, admission, proof that integers fit
    queue     waiting for a slot
    upload    operands to the device
    compile   code for the strategy, if that is compiled and this process has not got it
    compute   the strategy alone, synchronised
    download  result to the host
    encode    result to bytes

    A mark is a phase that has just ended, and a reading of `perf_counter_ns`; the first one is the
    start. On the path of small requests marks are appended directly: a method call would cost more
    than what it measures. `phases` has the nanoseconds of each phase, once `stop` has been called.
    """

    marks: list[Mark]
    phases: Sequence[int] = NO_PHASES

    @classmethod
    def start(cls) -> "Stopwatch":
        """Return a stopwatch that starts now."""
        return cls([(DECODE, perf_counter_ns())])

    def lap(self, phase: int) -> None:
        """Mark the end of a phase, such as DECODE."""
        self.marks.append((phase, perf_counter_ns()))

    @property
    def elapsed_ms(self) -> int:
        """Whole milliseconds from the start to the last mark."""
        return (self.marks[-1][1] - self.marks[0][1]) // NS_PER_MS

    def stop(self) -> bytes:
        """End the encode phase, and sum up `phases`.

        Return the milliseconds of each phase and of the total, as the inside of a JSON object.
        """
        self.marks.append((ENCODE, perf_counter_ns()))
        self.phases = phases = self.sum_up()
        decode, queue, upload, compiling, compute, download, encode = phases
        # orjson writes eight floats in a third of the time that %-formatting takes.
        milliseconds = {
            "decode_ms": decode / 1e6,
            "queue_ms": queue / 1e6,
            "upload_ms": upload / 1e6,
            "compile_ms": compiling / 1e6,
            "compute_ms": compute / 1e6,
            "download_ms": download / 1e6,
            "encode_ms": encode / 1e6,
            "total_ms": sum(phases) / 1e6,
        }
        return orjson.dumps(milliseconds)[1:-1]

    def sum_up(self) -> list[int]:
        """Return the nanoseconds of each phase up to the last mark."""
        phases = [0] * len(PHASES)
        before = self.marks[0][1]
        for phase, now in self.marks:
            phases[phase] += now - before
            before = now
        return phases


def server_timing(timing: bytes) -> bytes:
    """Return the value of a `Server-Timing` header (W3C) from the result of `Stopwatch.stop`."""
    return timing.replace(b'_ms":', b";dur=").replace(b',"', b", ")[1:]
