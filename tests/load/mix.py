"""Calls of the load test with their weights and expected results; independent of Locust.

Operands are small whole numbers in floats, so that every result is exact: the SHA-256 of its bytes
is known before, whatever the strategy, the device or the number of threads.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt

from tensor_service_client import Call, Client, ProblemError, Shape, broadcast, einsum, matmul, norm

Array = npt.NDArray[Any]
BAD_JSON: Final = (b'{"a": [[1, 2], [3, ', "application/json", "malformed-json")
BAD_FILE: Final = (b"\x40\0\0\0\0\0\0\0{}", "application/x-safetensors", "malformed-body")


class WrongAnswerError(Exception):
    """The service gave a wrong result."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of call. `act` makes it, and raises an error if the response is wrong.

    `weight` is its share of the calls, in percent.
    """

    name: str
    route: str
    weight: int
    act: Callable[[Client], None]


def mix() -> list[Kind]:
    """All kinds; their weights are shares of the calls, in percent."""
    a, b = _whole(2, 2), _whole(2, 2)
    m, n = _whole(128, 128), _whole(128, 128)
    big = _whole(1024, 1024)
    lists = matmul([[1, 2], [3, 4]], [[5, 6], [7, 8]])
    http = httpx.Client()
    stack = np.stack([m[:16, :32]] * 8)
    return [
        Kind("tiny matmul, JSON", "/matmul", 20, _result(lists, [[19.0, 22.0], [43.0, 50.0]])),
        Kind("tiny matmul, bytes", "/matmul", 20, _result(matmul(a, b), a @ b)),
        Kind("tiny einsum, bytes", "/einsum", 5, _result(einsum("ij->ji", a), a.T)),
        Kind("tiny norm, bytes", "/norm", 5, _result(norm(np.full(1024, 3.0)), np.float64(96))),
        Kind(
            "tiny broadcast, bytes",
            "/broadcast",
            5,
            _result(broadcast(a, b[0], op="mul"), a * b[0]),
        ),
        Kind(
            "tiny matmul by loops, summary",
            "/matmul",
            5,
            _summary(matmul(a, b, strategy="loops"), a @ b),
        ),
        Kind(
            "medium matmul, JSON",
            "/matmul",
            6,
            _result(matmul(m.tolist(), n.tolist()), (m @ n).tolist()),
        ),
        Kind("medium matmul, bytes", "/matmul", 6, _result(matmul(m, n), m @ n)),
        Kind(
            "medium einsum, bytes",
            "/einsum",
            4,
            _result(einsum("bij,kj->bik", stack, m[:, :32]), stack @ m[:, :32].T),
        ),
        Kind("medium matmul, summary", "/matmul", 4, _summary(matmul(m, n), m @ n)),
        Kind("large matmul, bytes", "/matmul", 2, _result(matmul(big, big), big @ big)),
        Kind("large matmul, summary", "/matmul", 1, _summary(matmul(big, big), big @ big)),
        Kind("bad shapes", "/matmul", 3, _refusal(matmul(m, n[:7]), "shape-mismatch")),
        Kind("bad rows", "/matmul", 2, _refusal(matmul([[1, 2], [3]], [[1]]), "ragged-array")),
        Kind("bad strategy", "/norm", 2, _refusal(norm(a, strategy="lops"), "unknown-strategy")),
        Kind(
            "bad sum",
            "/broadcast",
            1,
            _refusal(broadcast([2**62], 2, op="mul", dtype="int64"), "integer-overflow"),
        ),
        Kind("bad JSON", "/matmul", 2, _rubbish(http, *BAD_JSON)),
        Kind("bad file", "/matmul", 2, _rubbish(http, *BAD_FILE)),
        Kind("medium chain, bytes", "/chain", 2, _chain(m, n)),
        Kind(
            "plan",
            "/matmul/plan",
            2,
            _plan(matmul(Shape((1000, 784)), Shape((784, 10))), [1000, 10]),
        ),
        Kind("compare", "/matmul/compare", 1, _race(matmul(m[:5], n[:, :10]))),
    ]


def _whole(*shape: int) -> Array:
    """Whole numbers from -2 to 2, as float32: sums of thousands of products are exact."""
    return np.random.default_rng(shape[0]).integers(-2, 3, shape).astype(np.float32)


def _digest(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _check(found: object, expected: object) -> None:
    if found != expected:
        raise WrongAnswerError(f"found {str(found)[:200]}, expected {str(expected)[:200]}")


def _result(call: Call[Any], expected: Any) -> Callable[[Client], None]:
    """The call's elements: of arrays by their digest, of lists themselves."""
    listed = isinstance(expected, list)
    right = expected if listed else _digest(expected)

    def act(client: Client) -> None:
        answer = client.run(call)
        _check(answer.result if listed else _digest(answer.result), right)

    return act


def _chain(m: Array, n: Array) -> Callable[[Client], None]:
    """Linear, ReLU, linear, whose numbers stay whole."""
    right = _digest(np.maximum(m @ n, 0) @ n)

    def act(client: Client) -> None:
        chain = client.chain()
        positive = chain.broadcast(chain.matmul(m, n), op="relu")
        _check(_digest(chain.run(chain.matmul(positive, n)).result), right)

    return act


def _summary(call: Call[Any], expected: Array) -> Callable[[Client], None]:
    """The digest that the service itself gives."""
    right = _digest(expected)

    def act(client: Client) -> None:
        answer = client.summarize(call)
        _check(answer.result["sha256"], right)

    return act


def _refusal(call: Call[Any], code: str) -> Callable[[Client], None]:
    """A problem of this code, and no other."""

    def act(client: Client) -> None:
        try:
            found: object = client.run(call)
        except ProblemError as problem:
            if problem.status >= 500:
                raise
            found = problem.code
        _check(found, code)

    return act


def _rubbish(
    http: httpx.Client, body: bytes, media_type: str, code: str
) -> Callable[[Client], None]:
    """A body that the client would not send."""

    def act(client: Client) -> None:
        headers = {"Content-Type": media_type}
        answer = http.post(f"{client.url}/matmul", content=body, headers=headers)
        refused = answer.status_code == 400
        _check(answer.json()["code"] if refused else answer.status_code, code)

    return act


def _plan(call: Call[Any], shape: list[int]) -> Callable[[Client], None]:
    def act(client: Client) -> None:
        _check(client.plan(call)["result"]["shape"], shape)

    return act


def _race(call: Call[Any]) -> Callable[[Client], None]:
    """A short race: every strategy that ran agrees with the reference."""

    def act(client: Client) -> None:
        report = client.compare(call, repeat=2, budget_ms=50)
        rows = {row["strategy"]: row["agrees"] for row in report["rows"] if "agrees" in row}
        _check(rows.get("torch"), True)
        _check({name for name, agrees in rows.items() if not agrees}, set())

    return act
