"""Well-formed JSON that no operation can serve: shapes, equations, fields."""

from collections.abc import Mapping
from typing import Any, Final

from tests.chaos.hostile_json import as_operand
from tests.chaos.hostile_request import Coded, Hostile, posts

HUGE: Final = 2**62
# Of the tensor `x`.
SHAPES: Final[Coded] = {
    "invalid-field": (
        {"shape": [-1], "data": []}, {"shape": [2.5], "data": [1, 2]},
        {"shape": ["2"], "data": [1, 2]}, {"shape": [True], "data": [1]},
        {"shape": [None], "data": [1]}, {"shape": 2, "data": [1, 2]},
        {"shape": "2", "data": [1, 2]}, {"shape": {}, "data": [1]},
        {"shape": [[2]], "data": [1, 2]}, {"shape": [1], "data": [1], "b64": "AACAPw=="},
        {"data": [1], "b64": ""},
    ),
    "shape-mismatch": (
        {"shape": [3], "data": [1, 2]}, {"shape": [2, 2], "data": [1, 2]},
        {"shape": [], "data": [1, 2]}, {"shape": [0], "data": [1]},
        {"shape": [2], "data": [[1, 2]]},
    ),
    "limit-exceeded": (
        {"shape": [2**31, 2**31, 2**31], "data": []}, {"shape": [HUGE, 4], "data": []},
        {"shape": [HUGE, 4], "b64": ""}, {"shape": [2**32, 2**32], "b64": ""},
        {"shape": [2**63], "data": []}, {"shape": [2**63 - 1, 2], "b64": ""},
        {"shape": [2**64 - 1], "b64": ""}, {"shape": [2**33, 2**31], "b64": ""},
        {"shape": [1] * 17, "data": [1]}, {"shape": [1] * 10_000, "data": [1]},
        {"shape": [2**24 + 1], "data": []},
    ),
    "missing-field": (
        {"shape": [1], "b64": "AACAPw=="}, {"shape": [1]}, {"b64": "AACAPw=="}, {},
        {"dtype": "float32"}, {"dtype": "float32", "b64": "AACAPw=="},
        {"shape": [1], "data": None}, {"shape": [1], "dtype": "float32", "b64": None},
        {"shape": None, "dtype": "float32", "b64": "AACAPw=="},
        {"shape": [1], "dtype": None, "b64": "AACAPw=="},
    ),
    "invalid-element": (
        {"shape": [1], "dtype": None, "data": [None]}, {"shape": [1], "data": {}},
    ),
    "unknown-field": (
        {"shape": [1], "data": [1], "nope": 1},
        {"shape": [1], "data": [1], "k" * 100_000: 1}, {"/~" * 100_000: 1},
    ),
    "unknown-dtype": (
        {"shape": [1], "dtype": 1, "data": [1]},
        {"shape": [1], "dtype": ["int8"], "data": [1]},
        {"shape": [1], "dtype": "object", "data": [1]}, {"shape": [1], "dtype": "O", "data": [1]},
        {"shape": [1], "dtype": "float128", "data": [1]},
        {"shape": [1], "dtype": "__class__", "data": [1]},
        {"shape": [1], "dtype": "x" * 100_000, "data": [1]},
    ),
}  # fmt: skip
# Of the tensor `x` as well. A field that is null is absent, and 1.0 is an integer.
SHAPES_READ: Final[tuple[object, ...]] = (
    {"shape": None, "data": [1]}, {"shape": [1], "dtype": None, "data": [1]},
    {"shape": [1], "data": [1], "b64": None}, {"shape": [2.0], "data": [1, 2]},
    {"shape": [1e0], "dtype": "float32", "data": None, "b64": "AACAPw=="},
)  # fmt: skip
# The same, as bytes.
NO_BASE64: Final[tuple[object, ...]] = (
    "AAAAAA", "AAAA AA==", "AAAA\nAA==", "____fw==", "!!!!!!==", 1, "AACAPw====",
    "AACAPw==AACAPw==", "\u00e9\u00e9AAAA==", ["AACAPw=="], {}, True, "=", "====", "A", "\x00",
    "AACAPx==\x00",
)  # fmt: skip
BASE64: Final[Coded] = {
    "invalid-field": tuple({"shape": [1], "dtype": "float32", "b64": each} for each in NO_BASE64),
    "shape-mismatch": (
        *(
            {"shape": [1], "dtype": "float32", "b64": each}
            for each in ("", "AAAA", "AAAAAAA=", "AAAAAAA" + "A" * 100_001)
        ),
        {"shape": [2, 0], "dtype": "float32", "b64": "AACAPw=="},
        {"shape": [2**24], "dtype": "float32", "b64": "AACAPw=="},
    ),
    "invalid-element": (
        {"shape": [1], "dtype": "bool", "b64": "Ag=="},
        {"shape": [2], "dtype": "bool", "b64": "AP8="},
    ),
}
# Fields of /norm beside a good `x`.
FIELDS: Final[Mapping[str, tuple[dict[str, object], ...]]] = {
    "unknown-field": (
        {"nope": 1}, {"nope": None}, {"X": 1}, {"__proto__": 1}, {"": 1}, {"\x00": 1},
        {"k" * 100_000: 1},
        {f"k{index}": 1 for index in range(5_000)},
    ),
    "invalid-field": (
        {"strategy": 1}, {"strategy": None, "ord": []}, {"strategy": ["torch"]},
        {"strategy": "t" * 100_000}, {"device": 0}, {"output": "pickle"}, {"output": 1},
        {"deadline_ms": 0}, {"deadline_ms": -1}, {"deadline_ms": 1.5}, {"deadline_ms": "1"},
        {"deadline_ms": True}, {"deadline_ms": 10**18}, {"ord": "nope"}, {"ord": [2]}, {"ord": {}},
        {"ord": True}, {"dim": "0"}, {"dim": 0.5}, {"dim": [[0]]}, {"dim": list(range(10_000))},
        {"dim": True}, {"keepdim": 1}, {"keepdim": "true"}, {"kind": "tensor"}, {"kind": 1},
        {"ord": "nuc", "dim": 0}, {"ord": 3, "dim": [0, 1]},
    ),
    "unknown-strategy": (
        {"strategy": "rm -rf"}, {"strategy": ""},
    ),
    "device-unavailable": (
        {"device": "cuda:99"}, {"device": "cuda:-1"}, {"device": "cuda:99999999999999999999"},
        {"device": "tpu"}, {"device": "cpu:7"}, {"device": "meta"},
    ),
    "unknown-dtype": (
        {"dtype": "float128"}, {"dtype": 32},
    ),
    "shape-mismatch": (
        {"dim": 2}, {"dim": -3}, {"dim": 2**63 - 1}, {"dim": -(2**63)}, {"dim": [0, 0]},
        {"dim": [0, 1, 0]}, {"dim": [0, -2]}, {"kind": "matrix", "dim": 0},
    ),
}  # fmt: skip
FIELDS_READ: Final[tuple[dict[str, Any], ...]] = (
    *(
        {name: None}
        for name in ("strategy", "device", "output", "deadline_ms", "dtype", "ord", "dim",
                     "keepdim", "kind")
    ),
    {"deadline_ms": 1e3}, {"dim": 1.0}, {"dim": [0.0, 1.0]},
)  # fmt: skip
# Of two 2 x 2 operands.
EQUATIONS: Final[Coded] = {
    "invalid-equation": (
        "", "->", "ij", "ij,jk,kl->il", "ij,,jk", "ij;jk->ik", "ij,jk>ik", "ij,jk-ik", "ij,jk=>ik",
        "ij,jk->ik->ik", "->ij,jk", "ij,jk->iz", "ij,jk->iik", "i1,1k->ik", "ij,j!->i!",
        "i\u00e9,\u00e9k->ik", "ij,jk->ik\x00", "\x00", "ij,jk->i\nk", "..ij,jk->ik",
        "....ij,jk->ik", "...i...j,jk->ik", "ij,jk->...ik...", "i.j,jk->ik", "ij,jk->ik,",
        "ij,jk->i,k", "(ij),jk", "i{j},jk", "%s%s,jk", "\u0131j,jk", "ij,jk->\uff49k",
    ),
    "shape-mismatch": (
        ",", ",->", "i,jk->ik", "ijk,jk->ik",
    ),
    "invalid-field": (
        "ij,jk->" + "ik" * 10_000, "a" * 100_000, "," * 100_000, "->" * 50_000, "." * 100_000, 1,
        None, ["ij", "jk"], {"ij": 1}, True,
    ),
}  # fmt: skip
GOOD: Final = [[1, 2], [3, 4]]
LONG: Final = [1] * 5_000
CALLS: Final[Mapping[str, tuple[tuple[str, dict[str, Any]], ...]]] = {
    "shape-mismatch": (
        ("/matmul", {"a": GOOD, "b": [1, 2, 3]}), ("/matmul", {"a": 1, "b": GOOD}),
        ("/matmul", {"a": [[]], "b": [[1]]}),
        ("/einsum", {"equation": "ii", "operands": [[[1, 2]]]}),
        ("/einsum", {"equation": "i,i", "operands": [[1, 2], LONG]}),
        ("/broadcast", {"to": [2, 3], "operands": [[1, 2]]}), ("/norm", {"x": [], "ord": "inf"}),
        ("/matmul/gradients", {"a": GOOD, "b": GOOD, "upstream": LONG}),
        (
            "/einsum/gradients",
            {"equation": "ij->", "operands": [GOOD], "upstream": {"shape": [10**9, 0], "data": []}},
        ),
    ),
    "integer-overflow": (
        ("/matmul", {"a": [[2**62]], "b": [[4]], "dtype": "int64"}),
        ("/matmul", {"a": [[100, 100]], "b": [[100], [100]], "dtype": "int8"}),
        ("/broadcast", {"op": "mul", "operands": [2**62, 4], "dtype": "int64"}),
        ("/broadcast", {"op": "pow", "operands": [10, 30], "dtype": "int64"}),
        ("/broadcast", {"op": "div", "operands": [1, 0], "dtype": "int64"}),
        ("/broadcast", {"op": "pow", "operands": [2, -1], "dtype": "int64"}),
    ),
    "dtype-unsupported": (
        ("/matmul", {"a": [[True]], "b": [[True]], "dtype": "bool"}),
        ("/broadcast", {"op": "lt", "operands": [[[1, 2]], [[1, 2]]], "dtype": "complex64"}),
        ("/matmul/gradients", {"a": GOOD, "b": GOOD, "dtype": "int64"}),
        ("/einsum/gradients", {"equation": "ij", "operands": [GOOD], "dtype": "uint8"}),
    ),
    "limit-exceeded": (
        ("/matmul", {"a": [[1]] * 5_000, "b": [LONG]}),
        ("/einsum", {"equation": "i,j->ij", "operands": [LONG, LONG]}),
        ("/einsum", {"equation": "i,j,k->ijk", "operands": [LONG, LONG, LONG]}),
        ("/einsum", {"equation": ",".join("i" * 1_000), "operands": [[1]] * 999}),
        ("/einsum/gradients", {"equation": "i,j->ij", "operands": [LONG, LONG]}),
        ("/einsum/gradients", {"equation": ",".join("i" * 65), "operands": [[1]] * 65}),
        ("/broadcast", {"op": "add", "operands": [LONG, [[1]] * 5_000]}),
        ("/broadcast", {"to": [100_000, 100_000], "operands": [1]}),
        ("/broadcast", {"to": [HUGE, HUGE], "operands": [1]}),
        ("/broadcast", {"to": [2**63], "operands": [1]}),
        ("/broadcast", {"to": [1] * 17, "operands": [1]}),
    ),
    "work-exceeded": (
        (
            "/einsum",
            {
                "equation": "i,j,k,l->",
                "operands": [LONG] * 4,
                "optimize": "none",
                "strategy": "loops",
            },
        ),
    ),
    "invalid-equation": (
        (
            "/einsum/gradients",  # with a diagonal, whose gradient has a letter more than there are
            {
                "equation": "abcdefghijklma,nopqrstuvwxyz,ABCDEFGHIJKLM,NOPQRSTUVWXYZ->",
                "operands": [{"shape": [1] * n, "data": [1]} for n in (14, 13, 13, 13)],
            },
        ),
    ),
    "missing-field": (
        ("/matmul", {"a": GOOD}), ("/matmul", {"a": {"shape": [2, 2]}, "b": GOOD}),
        ("/einsum/gradients", {"equation": "ij", "upstream": GOOD}),
        ("/matmul/gradients", {"a": GOOD, "b": GOOD, "upstream": {}}),
    ),
    "ragged-array": (
        ("/einsum/gradients", {"equation": "ij", "operands": [GOOD], "upstream": [[1], 2]}),
    ),
    "invalid-field": (
        ("/einsum", {"equation": "ij,jk->ik", "operands": []}),
        ("/einsum", {"equation": "i", "operands": {"0": [1]}}),
        ("/einsum", {"equation": "i,i", "operands": [[1], [1]], "optimize": [[0, 9]]}),
        ("/einsum", {"equation": "i,i", "operands": [[1], [1]], "optimize": [[0, 0]]}),
        ("/einsum", {"equation": "i,i", "operands": [[1], [1]], "optimize": "rm"}),
        ("/einsum", {"equation": "i,i", "operands": [[1], [1]], "optimize": [[-1, 0]]}),
        ("/broadcast", {"to": [-1], "operands": [1]}), ("/broadcast", {"to": "2", "operands": [1]}),
        ("/broadcast", {"op": "xor", "operands": [1, 2]}),
        ("/broadcast", {"op": "add", "operands": [1]}),
        ("/broadcast", {"op": "sub", "operands": [1, 2, 3]}),
        ("/broadcast", {"op": "add", "operands": [1, 2], "views": [":"]}),
        ("/broadcast", {"op": "add", "operands": [1, 2], "views": ["::", None]}),
        ("/broadcast", {"op": "add", "operands": [[1], 2], "views": ["...,...", None]}),
        ("/broadcast", {"op": "add", "operands": [[1], 2], "views": ["0", None]}),
        ("/broadcast", {"op": "add", "operands": [[1], 2], "views": ["__import__('os')", None]}),
        ("/broadcast", {"op": "add", "operands": [[1], 2], "views": ["None," * 10_000, None]}),
        ("/norm", {"x": [[1]], "ord": "nuc", "strategy": "loops", "dim": 0}),
    ),
}  # fmt: skip

CALL_RECORDS: Final[tuple[Hostile, ...]] = (
    *posts("shapes", "/norm", as_operand(SHAPES), 422),
    *posts("shapes", "/norm", as_operand({"": SHAPES_READ}), 200),
    *posts("base64", "/norm", as_operand(BASE64), 422),
    *posts(
        "fields",
        "/norm",
        {code: tuple({"x": GOOD} | each for each in group) for code, group in FIELDS.items()},
        422,
    ),
    *posts("fields", "/norm", {"": tuple({"x": GOOD} | each for each in FIELDS_READ)}, 200),
    *posts(
        "equations",
        "/einsum",
        {
            code: tuple({"equation": each, "operands": [GOOD, GOOD]} for each in group)
            for code, group in EQUATIONS.items()
        },
        422,
    ),
    *(
        record
        for code, group in CALLS.items()
        for path, body in group
        for record in posts("calls", path, {code: (body,)}, 422)
    ),
)
