"""`make bench-numbers`: the compiled reader and writer of numbers against other libraries.

The reader takes a body of two n x n matrices, pysimdjson parses it and copies its numbers, and
orjson makes lists of it. The writer takes one matrix, as orjson does. A ratio above 1 means that
the other library takes longer. One that falls after a change of compiler or flags means that the
compiled code has become slow.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
import orjson
import simdjson
from rich.console import Console
from rich.table import Table

from tests.bench.measurements import Figure, machine
from tests.bench.workloads import Array, json_pair
from tests.rigs.number_text import extract, write_pieces

SIZES = (32, 128, 512, 1024)
DTYPES = ("float64", "float32")
THREADS = (1, 2)
ROUNDS = 41
NAMES = ("a", "b")
COLUMNS = ("what", "dtype", "n", "threads", "MB/s", "pysimdjson / ours", "orjson / ours")
# Calls of one round take about this long.
ROUND_BYTES = 1_000_000

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """A task, and how each library does it."""

    what: str
    dtype: str
    n: int
    threads: int
    size: int
    ours: Work
    others: dict[str, Work]


def by_simdjson(body: bytes) -> Work:
    """Return the reading of numbers by simdjson, each of which has its own memory afterwards."""
    parser = simdjson.Parser()

    def read() -> object:
        document: Any = parser.parse(body)
        found = [np.frombuffer(document[name].as_buffer(of_type="d")) for name in NAMES]
        del document
        return found

    return read


def rows(sizes: list[int]) -> Iterator[Row]:
    """Yield reading and writing, by dtype, size and number of threads."""
    for dtype in DTYPES:
        for n in sizes:
            a, b = np.random.default_rng(n).standard_normal((2, n, n)).astype(dtype)
            body = json_pair(a, b)
            for threads in THREADS:
                yield reading(dtype, n, threads, body)
            for threads in THREADS:
                yield writing(dtype, n, threads, a)


def reading(dtype: str, n: int, threads: int, body: bytes) -> Row:
    """Return the reading of a body."""
    return Row(
        what="read",
        dtype=dtype,
        n=n,
        threads=threads,
        size=len(body),
        ours=lambda: extract(body, NAMES, threads=of_pool(threads)),
        others={"pysimdjson": by_simdjson(body), "orjson": lambda: orjson.loads(body)},
    )


def writing(dtype: str, n: int, threads: int, a: Array) -> Row:
    """Return the writing of a matrix."""

    def by_orjson() -> bytes:
        return orjson.dumps(a, option=orjson.OPT_SERIALIZE_NUMPY)

    return Row(
        what="write",
        dtype=dtype,
        n=n,
        threads=threads,
        size=len(by_orjson()),
        ours=lambda: write_pieces(a, threads=of_pool(threads)),
        others={"orjson": by_orjson},
    )


def of_pool(threads: int) -> int:
    """Return the threads of the pool: one alone is that of the caller."""
    return threads if threads > 1 else 0


def seconds(work: Work, runs: int) -> float:
    """Return the duration of one call, over `runs` of them."""
    started = perf_counter_ns()
    for _ in range(runs):
        work()
    return (perf_counter_ns() - started) / runs / 1e9


def measured(row: Row, rounds: int) -> list[str]:
    """Return the cells of a row; the libraries alternate, and each ratio is of one round."""
    runs = max(1, ROUND_BYTES // row.size)
    ours: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in row.others}
    for number in range(rounds + 1):
        for name, other in row.others.items():
            mine, theirs = seconds(row.ours, runs), seconds(other, runs)
            if number:  # the first round warms up
                ours.append(row.size / mine / 1e6)
                ratios[name].append(theirs / mine)
    cells = [row.what, row.dtype, str(row.n), str(row.threads), str(Figure(tuple(ours)))]
    figures = {name: str(Figure(tuple(values))) for name, values in ratios.items()}
    return [*cells, *(figures.get(name, "") for name in ("pysimdjson", "orjson"))]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.number_text", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    table = Table(
        title="Text of numbers", caption=f"medians of {options.rounds} pairs ± half the IQR"
    )
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("what", "dtype") else "right")
    for row in rows(options.sizes):
        table.add_row(*measured(row, options.rounds))
    console = Console(width=120)
    console.print(machine("orjson", "pysimdjson"))
    console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
