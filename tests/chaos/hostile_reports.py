"""Abuse of plans and comparisons, which read more than the operation does."""

from collections.abc import Mapping
from typing import Any, Final

from tests.chaos.hostile_calls import GOOD, HUGE
from tests.chaos.hostile_files import NPY_FILES
from tests.chaos.hostile_json import BAD_UTF8, DUPLICATES, MALFORMED, TOO_DEEP
from tests.chaos.hostile_request import Coded, Hostile, posts
from tests.rigs.request_bodies import NPY

PLANS: Final[Mapping[str, tuple[tuple[str, dict[str, Any]], ...]]] = {
    "limit-exceeded": (
        ("/norm", {"x": {"shape": [1] * 17}}), ("/norm", {"x": {"shape": [1] * 100_000}}),
        ("/einsum", {"equation": ",".join("i" * 65), "operands": [{"shape": [1]}] * 65}),
    ),
    "invalid-field": (
        ("/norm", {"x": {"shape": [-1]}}), ("/norm", {"x": {"shape": [1.5]}}),
        ("/norm", {"x": {"shape": "2"}}),
        ("/norm", {"x": {"shape": [True]}}), ("/norm", {"x": {"shape": [[1]]}}),
        ("/norm", {"x": {"shape": [2**64]}}), ("/norm", {"x": {"shape": [10**300]}}),
        ("/einsum", {"equation": "i", "operands": {"shape": [1]}}),
        ("/broadcast", {"to": [-1], "operands": [{"shape": []}]}),
    ),
    "missing-field": (
        ("/norm", {"x": {}}), ("/norm", {"x": {"dtype": "float32"}}),
        ("/norm", {"x": {"shape": None}}), ("/matmul", {"a": {"shape": [1]}}),
    ),
    "shape-mismatch": (
        ("/matmul", {"a": {"shape": [HUGE, HUGE]}, "b": {"shape": [2, HUGE]}}),
        ("/matmul", {"a": {"shape": []}, "b": {"shape": [HUGE]}}),
        ("/einsum", {"equation": "ii", "operands": [{"shape": [HUGE, 3]}]}),
        ("/broadcast", {"op": "add", "operands": [{"shape": [HUGE]}, {"shape": [3]}]}),
    ),
    "unknown-dtype": (
        ("/norm", {"x": {"shape": [1], "dtype": "float128"}}),
        ("/norm", {"x": {"shape": [1]}, "dtype": "object"}),
    ),
}  # fmt: skip
# Sizes that no tensor can have are still sizes: the plan says that such a call would be refused.
TOO_MUCH: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("/norm", {"x": {"shape": [2**24 + 1]}}), ("/norm", {"x": {"shape": [HUGE, HUGE]}}),
    ("/norm", {"x": {"shape": [2**63 - 1]}}), ("/norm", {"x": {"shape": [HUGE] * 16}}),
    ("/broadcast", {"to": [1] * 17, "operands": [{"shape": []}]}),
    ("/matmul", {"a": {"shape": [HUGE, HUGE]}, "b": {"shape": [HUGE, HUGE]}}),
    ("/einsum", {"equation": "i,j,k->ijk", "operands": [{"shape": [HUGE]}] * 3}),
    ("/broadcast", {"op": "add", "operands": [{"shape": [HUGE, 1]}, {"shape": [HUGE]}]}),
    ("/broadcast", {"to": [HUGE, HUGE], "operands": [{"shape": []}]}),
)  # fmt: skip
# Fields of a comparison of norms.
OPTIONS: Final[Mapping[str, tuple[dict[str, Any], ...]]] = {
    "invalid-field": (
        {"repeat": 0}, {"repeat": -1}, {"repeat": 10**9}, {"repeat": 1.5}, {"repeat": "9"},
        {"repeat": True}, {"budget_ms": 0}, {"budget_ms": 10**12}, {"budget_ms": []},
        {"rtol": -1}, {"rtol": "0"}, {"rtol": {}}, {"rtol": True}, {"atol": "NaN"}, {"atol": -0.5},
        {"strategies": "torch"}, {"strategies": [1]}, {"strategies": {}}, {"strategies": [None]},
        {"strategies": ["torch"] * 65}, {"strategies": ["t" * 60_000] * 65},
        {"devices": "cpu"}, {"devices": [0]}, {"baseline": 1}, {"baseline": ["torch"]},
        {"baseline": "t" * 100_000},
    ),
    "unknown-strategy": (
        {"strategies": ["nope"]}, {"strategies": [""]}, {"baseline": "nope"},
        {"strategies": ["torch", "t" * 100_000]}, {"strategies": ["__class__"]},
    ),
    "device-unavailable": ({"devices": ["tpu"]}, {"devices": ["cuda:99"]}, {"devices": [""]}),
    "unknown-field": ({"repeats": 1}, {"timeout": 1}, {"k" * 100_000: 1}),
}  # fmt: skip
OPTIONS_READ: Final[tuple[dict[str, Any], ...]] = (
    {"repeat": None},
    {"rtol": None},
    {"repeat": 1.0},
)
EVERYWHERE: Final[Coded] = {
    "malformed-json": MALFORMED["malformed-json"],
    "invalid-utf8": BAD_UTF8,
    "duplicate-key": DUPLICATES,
    "nesting-too-deep": TOO_DEEP,
}
# Comparisons read their bodies as plans do.
FEW: Final[Coded] = {code: bodies[:4] for code, bodies in EVERYWHERE.items()}

REPORT_RECORDS: Final[tuple[Hostile, ...]] = (
    *posts("plans", "/norm/plan", EVERYWHERE, 400),
    *posts("plans", "/norm/plan", {"malformed-body": NPY_FILES}, 400, kind=NPY),
    *(
        record
        for code, group in PLANS.items()
        for path, body in group
        for record in posts("plans", f"{path}/plan", {code: (body,)}, 422)
    ),
    *(
        record
        for path, body in TOO_MUCH
        for record in posts("plans", f"{path}/plan", {"": (body,)}, 200)
    ),
    *posts("comparisons", "/norm/compare", FEW, 400),
    *posts(
        "comparisons",
        "/norm/compare",
        {code: tuple({"x": GOOD} | each for each in group) for code, group in OPTIONS.items()},
        422,
    ),
    *posts(
        "comparisons",
        "/norm/compare",
        {"": tuple({"x": GOOD} | each for each in OPTIONS_READ)},
        200,
    ),
)
