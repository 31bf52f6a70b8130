"""Requests to each app, by format and size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from tests.bench.client import request

JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/x-safetensors", "Accept": "application/octet-stream"}
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table."""

    name: str
    n: int
    messages: dict[str, bytes]

    @property
    def exchanges(self) -> int:
        """Exchanges of one round, about a tenth of a second of them."""
        return max(3, min(400, 60_000 // self.n**2))


def workloads(sizes: list[int]) -> list[Workload]:
    """JSON float64 and float32 text, and bytes, at each size."""
    return [make(n) for n in sizes for make in (_float64, _float32, _bytes)]


def json_pair(a: Array, b: Array) -> bytes:
    """A JSON body."""
    return orjson.dumps({"a": a, "b": b}, option=orjson.OPT_SERIALIZE_NUMPY)


def safetensors_pair(a: Array, b: Array) -> bytes:
    """A safetensors body of two float64 matrices of one shape."""
    size = a.nbytes
    spans = {"a": [0, size], "b": [size, 2 * size]}
    header = orjson.dumps(
        {
            name: {"dtype": "F64", "shape": list(a.shape), "data_offsets": span}
            for name, span in spans.items()
        }
    )
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + a.tobytes() + b.tobytes()


def _float64(n: int) -> Workload:
    body = json_pair(*np.random.default_rng(n).standard_normal((2, n, n)))
    ours = request("/matmul", body[:-1] + b',"dtype":"float64"}', JSON)
    other = request("/matmul", body, JSON)
    return Workload("JSON float64", n, {"service": ours, "usual": other, "tuned": other})


def _float32(n: int) -> Workload:
    a, b = np.random.default_rng(n).standard_normal((2, n, n)).astype(np.float32)
    message = request("/matmul", json_pair(a, b), JSON)
    return Workload("JSON float32", n, dict.fromkeys(("service", "usual", "tuned"), message))


def _bytes(n: int) -> Workload:
    a, b = np.random.default_rng(n).standard_normal((2, n, n))
    ours = request("/matmul", safetensors_pair(a, b), BYTES)
    return Workload(
        "bytes float64",
        n,
        {"service": ours, "tuned": request("/raw", a.tobytes() + b.tobytes(), {})},
    )
