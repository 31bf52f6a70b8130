"""`make bench-chain`: a layer and a network as one request, against the product alone and calls.

The layer is linear and ReLU of 2000 x 784 and 784 x 50, the network has another layer of 50 x 10.
Tensors are sent as safetensors and come back as bytes. The four alternate on one kept connection.

`compute` and `service` are the phase and the total that the answer states, summed over three calls;
`round trip` is the client's time.
"""

import argparse
import json
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, Final

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import save

from tests.bench.measurements import Figure, machine
from tests.bench.servers import started

CALLS: Final = 20  # of one round
HEADERS: Final = {
    "Content-Type": "application/x-safetensors",
    "Accept": "application/octet-stream",
}
COLUMNS: Final = ("compute", "service", "round trip")
Array = np.ndarray[Any, Any]
Times = tuple[float, ...]

LAYER: Final = [
    {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}},
    {"name": "r", "operation": "broadcast", "op": "relu", "operands": [{"step": "h"}]},
]
NETWORK: Final = [
    *LAYER,
    {"name": "y", "operation": "matmul", "a": {"step": "r"}, "b": {"operand": 2}},
]


class Caller:
    """A client that adds up the times of its calls."""

    def __init__(self, client: httpx.Client):
        """Begin with no time."""
        self._client = client
        self._times = [0.0, 0.0]

    def post(self, path: str, body: bytes, **fields: str) -> bytes:
        """Return the bytes of the result."""
        response = self._client.post(path, content=body, params=fields, headers=HEADERS)
        response.raise_for_status()
        timing = json.loads(response.headers["X-Envelope"])["timing"]
        self._times[0] += timing["compute_ms"]
        self._times[1] += timing["total_ms"]
        return response.content

    def take(self) -> list[float]:
        """Return milliseconds of computing and in the service, and begin anew."""
        times, self._times = self._times, [0.0, 0.0]
        return times


def ways(caller: Caller) -> dict[str, Callable[[], object]]:
    """Return what is compared, by its name."""
    rng = np.random.default_rng(1)
    x, first, second = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((2000, 784), (784, 50), (50, 10))
    )
    product = save({"a": x, "b": first})
    layer = save({"0": x, "1": first})
    network = save({"0": x, "1": first, "2": second})

    def three_calls() -> None:
        found = caller.post("/matmul", product)
        hidden = np.frombuffer(found, np.float32).reshape(2000, 50)
        found = caller.post("/broadcast", save({"0": hidden}), op="relu")
        hidden = np.frombuffer(found, np.float32).reshape(2000, 50)
        caller.post("/matmul", save({"a": hidden, "b": second}))

    return {
        "product alone": lambda: caller.post("/matmul", product),
        "layer in a chain": lambda: caller.post("/chain", layer, steps=json.dumps(LAYER)),
        "network in a chain": lambda: caller.post("/chain", network, steps=json.dumps(NETWORK)),
        "network in three calls": three_calls,
    }


def round_of(caller: Caller, call: Callable[[], object]) -> Times:
    """Medians of some calls."""
    found = []
    for _ in range(CALLS):
        began = perf_counter()
        call()
        found.append((*caller.take(), (perf_counter() - began) * 1000))
    return tuple(map(median, zip(*found, strict=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.bench.chain", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    table = Table(
        title="Chains, 2000 x 784", caption=f"ms; median of {rounds} rounds ± half the IQR"
    )
    for column in ("", *COLUMNS, "over the product alone"):
        table.add_column(column, justify="right" if column else "left")
    with (
        started("service", None) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
    ):
        caller = Caller(client)
        compared = ways(caller)
        times: dict[str, list[Times]] = {name: [] for name in compared}
        for number in range(rounds + 1):
            for name, call in compared.items():
                found = round_of(caller, call)
                if number:  # the first round warms up
                    times[name].append(found)
    alone = times["product alone"]
    for name, each in times.items():
        ratios = tuple(ours[-1] / base[-1] for ours, base in zip(each, alone, strict=True))
        figures = [*(Figure(values) for values in zip(*each, strict=True)), Figure(ratios)]
        table.add_row(name, *map(str, figures))
    console = Console(width=120)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
