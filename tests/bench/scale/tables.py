"""Tables of the measurements, in Markdown, to be pasted into a page."""

from statistics import median

from rich import box
from rich.table import Table

from tests.bench.measurements import Figure
from tests.bench.scale.projection import demands, gflops, product
from tests.bench.scale.report import Cell, Products, Requests

TARGET_RATE = 100_000
CORES = (64, 256, 1024)


def table(*columns: str, words: int) -> Table:
    """An empty table whose first columns are words, the others numbers."""
    found = Table(box=box.MARKDOWN)
    for number, column in enumerate(columns):
        found.add_column(column, justify="left" if number < words else "right", no_wrap=True)
    return found


def rates(report: Requests) -> Table:
    """Answers a second and their latencies."""
    found = table("request", "instances", "clients", "requests/s", "p50 ms", "p99 ms", words=2)
    for cell in report.cells:
        if cell.layout.time_sliced:
            continue
        figures = (
            cell.figure(lambda each: each.rate),
            cell.figure(lambda each: each.p50_ms),
            cell.figure(lambda each: each.p99_ms),
        )
        layout = cell.layout
        found.add_row(cell.workload, str(layout), str(layout.connections), *map(str, figures))
    return found


def growth(report: Requests) -> Table:
    """Answers a second of instances that run in time slices, and as multiples of one."""
    found = table("request", "instances in time slices", "requests/s", "times one", words=1)
    for name, cells in by_workload(report.time_sliced).items():
        one = cells[0].figure(lambda each: each.rate).median
        for cell in cells:
            figure = cell.figure(lambda each: each.rate)
            found.add_row(
                name, str(cell.layout.instances), str(figure), f"{figure.median / one:.2f}"
            )
    return found


def by_workload(cells: list[Cell]) -> dict[str, list[Cell]]:
    """Cells of each workload, in their order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.workload, []).append(cell)
    return found


def costs(report: Requests) -> Table:
    """Processor time of each part for a request, and what one core of each could do."""
    found = table(
        "request",
        "instances",
        "server us",
        "proxy us",
        "client us",
        "cores busy",
        "1/s a server core",
        "1/s a proxy core",
        words=2,
    )
    for cell in report.loaded:
        server = cell.figure(lambda each: each.server_us)
        proxy = cell.figure(lambda each: each.proxy_us)
        client = cell.figure(lambda each: each.client_us)
        busy = cell.figure(lambda each: each.busy_cores).median
        found.add_row(
            cell.workload,
            str(cell.layout),
            str(server),
            str(proxy) if cell.layout.proxied else "",
            str(client),
            f"{busy:.2f}",
            f"{1e6 / server.median:,.0f}",
            f"{1e6 / proxy.median:,.0f}" if cell.layout.proxied else "",
        )
    return found


def reckoned_rates(report: Requests) -> Table:
    """Cores and network that 100 000 requests a second would need."""
    found = table(
        "request",
        "server cores",
        "proxy cores",
        "Gbit/s in",
        "Gbit/s out",
        "core-hours for 10^9",
        words=1,
    )
    for name, each in demands(report, TARGET_RATE).items():
        cores = each.server_cores + each.proxy_cores
        found.add_row(
            name,
            f"{each.server_cores:.1f}",
            f"{each.proxy_cores:.1f}",
            f"{each.gbit_in:.2f}",
            f"{each.gbit_out:.2f}",
            f"{cores * 1e9 / TARGET_RATE / 3600:,.0f}",
        )
    return found


def products(report: Products) -> Table:
    """Both ways, by size."""
    found = table(
        "n",
        "dask ms",
        "torch ms",
        "dask / torch",
        "product alone ms",
        "tasks",
        "moved MB",
        words=0,
    )
    for size in report.sizes:
        dask = Figure(tuple(size.dask_ms))
        if size.refused is None:
            ours, alone = Figure(tuple(size.torch_ms)), Figure(tuple(size.alone_ms))
            here = [str(ours), f"{dask.median / ours.median:.2f}", str(alone)]
        else:
            here = ["refused", "", ""]
        moved = f"{size.moved_bytes / 1e6:.1f}"
        found.add_row(str(size.n), str(dask), *here, str(size.tasks), moved)
    return found


def core_rates(report: Products) -> tuple[float, float]:
    """GFLOP/s of a core: torch's at the largest size here, and a worker's at the largest of all."""
    here = [size for size in report.sizes if size.refused is None][-1]
    there = report.sizes[-1]
    return (
        gflops(here.n, median(here.alone_ms), report.workers),
        gflops(there.n, median(there.dask_ms), report.workers),
    )


def reckoned_products(report: Products) -> Table:
    """Time and memory of the huge product, by cores of the cluster."""
    found = table(
        "worker cores",
        "time",
        "core-hours",
        "memory GB",
        "tasks",
        "scheduler s",
        "read GB/s",
        "moved GB/s",
        words=0,
    )
    for cores in CORES:
        each = product(report, core_rates(report)[1], cores)
        found.add_row(
            str(cores),
            f"{each.seconds / 60:.1f} min",
            f"{each.core_hours:.1f}",
            f"{each.memory_bytes / 1e9:.0f}",
            f"{each.tasks:,}",
            f"{each.scheduler_s:.0f}",
            f"{each.read_bytes / 1e9 / each.seconds:.2f}",
            f"{each.moved_bytes / 1e9 / each.seconds:.2f}",
        )
    return found


def notes(report: Products) -> list[str]:
    """Results outside of the tables: refusals, rates of cores, costs of a task, the plan."""
    graph, plan = report.graph, report.plan
    alone, there = core_rates(report)
    wall = Figure(tuple(graph.tasks / each for each in graph.seconds))
    workers = Figure(tuple(each / graph.tasks * 1e6 for each in graph.worker_s))
    huge = product(report, there, 1)
    refusals = [f"n = {size.n} here: {size.refused}" for size in report.sizes if size.refused]
    rate = f"GFLOP/s a core: torch {alone:.1f}, a worker with its overhead {there:.1f}"
    task = (
        f"{graph.side} x {graph.side} blocks of one element: {graph.tasks} tasks, {wall} tasks/s; "
        f"processor time of a task: scheduler {graph.per_task_us} us, workers {workers} us"
    )
    whole = (
        f"n = {plan.n}: {plan.blocks} x {plan.blocks} blocks, {huge.tasks:,} tasks, "
        f"{huge.read_bytes / 1e12:.2f} TB read, at most {huge.moved_bytes / 1e12:.2f} TB moved"
    )
    planned = (
        f"the service's own plan of it: {plan.estimated_s / 3600:.1f} h on {report.workers} "
        f"workers; {plan.reason or 'accepted'}"
    )
    return [*refusals, rate, task, whole, planned]
