"""`make bench-scale`: scaling of the service, in two parts.

`requests` are those of 1, 2 and 4 instances behind the proxy, `products` those of stored matrices
on a cluster of this host against torch. Each part is written to a JSON file, from which `--read`
prints and draws again without measuring.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.bench.scale import charts, tables
from tests.bench.scale.products import measure as measure_products
from tests.bench.scale.report import read_products, read_requests, write
from tests.bench.scale.requests import measure as measure_requests
from tests.rigs.requirements import PRESENT

PARTS = ("requests", "products")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser("python -m tests.bench.scale", description=__doc__)
    parser.add_argument("parts", nargs="*", help="requests, products, or both")
    parser.add_argument("--rounds", type=int, default=7, help="that figures are medians of (7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a round (0.5)")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--work", type=int, default=384, help="n of the stored product (384)")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2, 256, 512, 1024, 2048, 4096, 8192]
    )
    parser.add_argument("--graph", type=int, default=12, help="blocks each way of a graph (12)")
    parser.add_argument("--files", type=Path, default=Path("build/scale"), help="the JSON files")
    parser.add_argument("--read", action="store_true", help="take these files, measure nothing")
    parser.add_argument("--plot", type=Path, help="a folder for charts, such as docs/images")
    options = parser.parse_args(arguments)
    options.parts = options.parts or list(PARTS)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}; there are {' and '.join(PARTS)}")
    return options


def show_requests(console: Console, options: argparse.Namespace) -> None:
    """Measure, or read, the first part."""
    file = options.files / "requests.json"
    if not options.read:
        with tempfile.TemporaryDirectory() as folder:
            found = measure_requests(
                Path(folder),
                counts=options.instances,
                rounds=options.rounds,
                seconds=options.seconds,
                side=options.work,
            )
        write(found, file)
    report = read_requests(file)
    console.print(report.machine)
    console.print(tables.rates(report), tables.costs(report))
    console.print(tables.growth(report), tables.reckoned_rates(report))
    if options.plot is not None:
        charts.draw_requests(report, options.plot)


def show_products(console: Console, options: argparse.Namespace) -> None:
    """Measure, or read, the second part."""
    file = options.files / "products.json"
    if not options.read:
        with tempfile.TemporaryDirectory() as folder:
            found = measure_products(
                Path(folder),
                workers=os.cpu_count() or 1,
                sizes=options.sizes,
                rounds=options.rounds,
                side=options.graph,
            )
        write(found, file)
    report = read_products(file)
    console.print(report.machine)
    console.print(tables.products(report), tables.reckoned_products(report))
    console.print(*tables.notes(report), sep="\n")
    if options.plot is not None:
        charts.draw_products(report, options.plot)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, write the files."""
    options = parsed(arguments)
    missing = [
        need
        for need, part in (("nginx", "requests"), ("dask", "products"))
        if part in options.parts and not options.read and not PRESENT[need]()
    ]
    if missing:
        sys.exit(f"the bench needs {', '.join(missing)}; --read takes files of an earlier run")
    console = Console(width=140, soft_wrap=True, highlight=False)
    if "requests" in options.parts:
        show_requests(console, options)
    if "products" in options.parts:
        show_products(console, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
