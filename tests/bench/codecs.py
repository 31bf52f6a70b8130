"""Decoding and encoding alone, each against a lower bound of its cost.

The floor of decoding JSON is the parser and a copy of its numbers, with no look at what they mean;
that of encoding is the writer on the array; that of bytes, in and out, is one copy of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import orjson
import simdjson
import torch
from rich.table import Table

from service.codecs import READERS, DecodeContext
from service.codecs.json.writer import result_json
from service.codecs.media_types import JSON, SAFETENSORS
from service.codecs.tensor_bytes import to_bytes
from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from tests.bench.workloads import json_pair, safetensors_pair

ROUNDS = 25
OP = REGISTRY["matmul"]
CONTEXT = DecodeContext(max_elements=2**31, dtype=DTYPES["float64"], max_deadline_ms=1000)


@dataclass(frozen=True, slots=True)
class Part:
    """A step of the service and its lower bound."""

    name: str
    ours: Callable[[], object]
    floor: Callable[[], object]


def parts(n: int) -> list[Part]:
    """Decode two matrices and encode one, of n x n float64."""
    a, b = np.random.default_rng(n).standard_normal((2, n, n))
    text, raw = bytearray(json_pair(a, b)), bytearray(safetensors_pair(a, b))
    result = torch.from_numpy(a)
    read_json, read_bytes = READERS[JSON], READERS[SAFETENSORS]
    parser = simdjson.Parser()

    def numbers() -> object:
        document: Any = parser.parse(text)
        found = [np.frombuffer(document[name].as_buffer(of_type="d")) for name in "ab"]
        del document
        return found

    return [
        Part("decode JSON", lambda: read_json.decode(text, OP, CONTEXT), numbers),
        Part(
            "encode JSON",
            lambda: result_json(result, "nested"),
            lambda: orjson.dumps(a, option=orjson.OPT_SERIALIZE_NUMPY),
        ),
        Part("decode bytes", lambda: read_bytes.decode(raw, OP, CONTEXT), lambda: bytes(raw)),
        Part("encode bytes", lambda: to_bytes(result), a.tobytes),
    ]


def micros(work: Callable[[], object], runs: int) -> float:
    """Microseconds of one call, over `runs` of them."""
    started = perf_counter_ns()
    for _ in range(runs):
        work()
    return (perf_counter_ns() - started) / runs / 1e3


def part_table(sizes: list[int]) -> Table:
    """One row for each part and size, ours and the floor interleaved."""
    table = Table(
        title="Decode and encode alone", caption=f"median of {ROUNDS} rounds, us; above 1 is slower"
    )
    for column in ("part", "n", "service", "floor", "service / floor"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for n in sizes:
        runs = max(1, min(200, 20_000 // n**2))
        for part in parts(n):
            pairs = [(micros(part.ours, runs), micros(part.floor, runs)) for _ in range(ROUNDS)]
            ours, floor = (median(times) for times in zip(*pairs, strict=True))
            ratio = median(mine / least for mine, least in pairs)
            table.add_row(part.name, str(n), f"{ours:.4g}", f"{floor:.4g}", f"{ratio:.2f}")
    return table
