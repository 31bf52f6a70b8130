"""Abuse of the Open Inference Protocol, whose errors have a status and no code."""

from typing import Any, Final

from tests.chaos.hostile_http import BODY, head
from tests.chaos.hostile_json import BAD_UTF8, MALFORMED, TOO_DEEP
from tests.chaos.hostile_request import Hostile, post, posts
from tests.rigs.inference_bodies import BYTES
from tests.rigs.request_bodies import JSON

INFER: Final = "/v2/models/norm/infer"
X: Final[dict[str, Any]] = {"name": "x", "shape": [2], "datatype": "FP32", "data": [3, 4]}
BINARY: Final[dict[str, Any]] = {
    "name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8},
}  # fmt: skip


def without(*names: str) -> dict[str, Any]:
    """The input without these keys."""
    return {name: value for name, value in X.items() if name not in names}


def changed(name: str, values: tuple[Any, ...]) -> list[object]:
    """Requests whose input has one of these values instead."""
    return [{"inputs": [X | {name: value}]} for value in values]


# In place of the request, or of what is in it.
REQUESTS: Final[tuple[object, ...]] = (
    [], "null", 1, '"x"', True, {}, {"inputs": None}, {"inputs": []}, {"inputs": {}},
    {"inputs": "x"}, {"inputs": [None]}, {"inputs": [[]]}, {"inputs": ["x"]}, {"inputs": [{}]},
    {"input": [X]},
    {"inputs": [X], "nope": 1}, {"inputs": [X], "id": 1}, {"inputs": [X], "id": []},
    {"inputs": [X], "parameters": []}, {"inputs": [X], "parameters": {"nope": 1}},
    {"inputs": [X], "parameters": {"ord": "nope"}}, {"inputs": [X], "parameters": {"dim": "[[["}},
    {"inputs": [X], "parameters": {"dim": "[" * 10_000}}, {"inputs": [X], "parameters": {"x": 1}},
    {"inputs": [X], "parameters": {"timeout": -1}}, {"inputs": [X], "parameters": {"timeout": "x"}},
    {"inputs": [X], "parameters": {"timeout": 1, "deadline_ms": 1}},
    {"inputs": [X], "parameters": {"binary_data_output": 1}},
    {"inputs": [X], "parameters": {"strategy": "nope"}},
    {"inputs": [X], "parameters": {"device": "cuda:99"}}, {"inputs": [X], "outputs": {}},
    {"inputs": [X], "outputs": [None, {}]}, {"inputs": [X], "outputs": [{"name": "y"}]},
    {"inputs": [X], "outputs": [{"name": "result"}, {"name": "result"}]},
    {"inputs": [X], "outputs": [{"name": "result", "parameters": {"binary_data": 1}}]},
    {"inputs": [X], "outputs": [{"name": "result", "parameters": {"shared_memory_region": "x"}}]},
    {"inputs": [X | {"name": "y"}]}, {"inputs": [X, X | {"name": "y"}]}, {"inputs": [BINARY]},
    {"inputs": [X | {"name": "k" * 100_000}]}, {"inputs": [X | {"name": "\x00"}]},
    {"inputs": [X | {"nope": 1}]}, {"inputs": [X | {"parameters": {"binary_data_size": 8}}]},
    {"inputs": [X | {"parameters": {"shared_memory_region": "/dev/mem"}}]},
    *({"inputs": [without(name)]} for name in X),
    *changed("name", (1, None, [], {}, True)),
    *changed(
        "datatype",
        ("BYTES", "FP8", "fp32", "float32", "", "UINT16", "x" * 100_000, 1, None, []),
    ),
    *changed(
        "shape",
        (
            [3], [], [2, 2], [-2], [-1, -2], ["2"], [True, 2], "2", 2, None, {}, [None],
            [2**63], [2**64], [2**62, 4], [2**32, 2**32], [0], [1] * 17 + [2], [1] * 10_000,
            [2**24 + 1], [[2]],
        ),
    ),
    *changed(
        "data",
        (
            [1], [1, 2, 3], [[1, 2, 3]], [1, [2]], ["a", "b"], [1, None], "AA==", {}, 1,
            [3.5e38, 1],
        ),
    ),
    *(
        {"inputs": [X | each]}
        for each in (
            {"datatype": "INT8", "data": [128, 0]}, {"datatype": "INT8", "data": [0.5, 0]},
            {"datatype": "UINT8", "data": [-1, 0]}, {"datatype": "INT64", "data": [2**63, 0]},
            {"datatype": "INT64", "data": [1e19, 0]}, {"datatype": "BOOL", "data": [1, 0]},
            {"datatype": "BOOL", "data": [True, "true"]}, {"datatype": "FP16", "data": [65520, 0]},
        )
    ),
)  # fmt: skip
# A parameter that is null is absent, and 2.0 is an integer.
REQUESTS_READ: Final[tuple[object, ...]] = (
    {"inputs": [X | {"shape": [2.0]}]}, {"inputs": [X | {"parameters": None}]},
    {"inputs": [X | {"parameters": {"binary_data_size": None}}]},
    {"inputs": [X], "id": None, "parameters": None, "outputs": None},
    {"inputs": [X], "parameters": {"ord": None, "dim": None, "timeout": None, "strategy": None}},
    {"inputs": [X], "parameters": {"timeout": "null", "deadline_ms": 1000, "ord": "null"}},
)  # fmt: skip
DEEP_TEXTS: Final = tuple(
    {"inputs": [X], "parameters": {"dim": "[" * depth + "]" * depth}} for depth in (65, 500, 1_000)
)
DOUBLED: Final[tuple[object, ...]] = (
    {"inputs": [X, X]}, '{"inputs":[],"inputs":[]}', r'{"id":"1","\u0069d":"2","inputs":[]}',
    '{"inputs":[{"name":"x","name":"x","shape":[1],"datatype":"FP32","data":[1]}]}',
    '{"inputs":[],"parameters":{"ord":1,"ord":2}}',
)  # fmt: skip
# Of a request whose input comes as bytes.
WHOLE: Final = (
    b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
)
DATA: Final = bytes(8)
LENGTHS: Final = (
    "0", "1", f"{len(WHOLE) - 1}", f"{len(WHOLE) + 1}", f"{len(WHOLE) + 9}", "-1", "+5", "5.0", "x",
    "0x5f", "9" * 18, "9" * 19, "9" * 5_000, "18446744073709551616", "1_0", "\xb2", "",
)  # fmt: skip
SIZES: Final = (
    "-8", "7", "9", "0", "1e1", '"8"', "null", "true", "9" * 19, "9" * 400, "[8]",
)  # fmt: skip


def binary(body: bytes, length: str | int, kind: str = BYTES) -> bytes:
    """A request that says how long its JSON is."""
    headers = {"content-type": kind, "inference-header-content-length": str(length)}
    return post(INFER, body, headers)


def sized(size: str) -> bytes:
    """The JSON of a request that says this of the size of its input."""
    return WHOLE.replace(b":8}", f":{size}}}".encode())


PATHS: Final = (
    "/v2/models/nope/infer", "/v2/models//infer", "/v2/models/norm/versions/nope/infer",
    "/v2/models/norm/versions//infer", "/v2/models/../norm/infer",
    "/v2/models/norm%00/infer", "/v2/models/%2e%2e/infer", "/v2/models/norm/versions/torch/load",
    "/v2/repository/models/norm/load", "/v2/systemsharedmemory/register", "/v2/nope",
    "/v2/models/" + "a" * 10_000 + "/infer", "/v2/models/matmul/versions/elementwise%20/infer",
)  # fmt: skip

PROTOCOL_RECORDS: Final[tuple[Hostile, ...]] = (
    *posts("protocol", INFER, {"": tuple(x for each in MALFORMED.values() for x in each)}, 400),
    *posts("protocol", INFER, {"": (*BAD_UTF8, *DOUBLED, *TOO_DEEP)}, 400),
    *posts("protocol", INFER, {"": DEEP_TEXTS}, 400),
    *posts("protocol", INFER, {"": REQUESTS}, 422),
    *posts("protocol", INFER, {"": REQUESTS_READ}, 200),
    *posts("protocol", INFER + "?ord=1", {"": ({"inputs": [X]},)}, 422),
    *posts("protocol", INFER, {"": ({"inputs": [X]},)}, 415, kind="application/x-npy"),
    *posts("protocol", INFER, {"": ({"inputs": [X]},)}, 415, content_encoding="br"),
    *(Hostile("protocol lengths", binary(WHOLE + DATA, length), (400,), "") for length in LENGTHS),
    *(
        Hostile("protocol lengths", binary(body, len(WHOLE)), (400,), "")
        for body in (WHOLE, WHOLE + DATA[:-1], WHOLE + DATA + b"\0", WHOLE + DATA + WHOLE)
    ),
    *(
        Hostile("protocol lengths", binary(sized(size) + DATA, len(sized(size)), kind), (422,), "")
        for size in SIZES
        for kind in (BYTES, JSON)
    ),
    *(
        Hostile(
            "protocol lengths", binary(sized("8.0") + DATA, len(sized("8.0")), kind), (200,), ""
        )
        for kind in (BYTES, JSON)
    ),
    *(record for path in PATHS for record in posts("protocol paths", path, {"": (BODY,)}, 404)),
    *(
        Hostile("protocol paths", head(first=f"{first} HTTP/1.1"), (405,), "")
        for first in (
            *(f"{method} {INFER}" for method in ("GET", "PUT", "DELETE", "PATCH")),
            "POST /v2/models/norm/versions/infer",
        )
    ),
)
