"""Time slices of the machine for processes, each a fifth of the time: several small machines.

    python -m tests.bench.scale.time_slices 4711 4712

Each runs for 10 ms of every 50 (SIGCONT, SIGSTOP), and never two at once. So instances do not
compete for cores, and their rates add up as those of several slow machines would.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Final

SHARES: Final = 5
SLICE_S: Final = 0.01


def run(pids: Sequence[int]) -> None:
    """Give each process its slice, without end; the other shares are idle."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        print("slicing", flush=True)
        while True:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
                sleep(SLICE_S)
                os.kill(pid, signal.SIGSTOP)
            sleep(SLICE_S * (SHARES - len(pids)))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def time_sliced(pids: Sequence[int]) -> Iterator[None]:
    """Slice the time of processes by a process of its own, until the end of the block."""
    if len(pids) >= SHARES:
        raise ValueError(f"{len(pids)} processes are too many for {SHARES} shares, one left over")
    command = [sys.executable, "-m", "tests.bench.scale.time_slices", *map(str, pids)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    run([int(each) for each in sys.argv[1:]])
