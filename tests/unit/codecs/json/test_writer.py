"""Results as JSON text: shortest digits, words for nonfinite numbers, strings, summaries."""

import hashlib
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.json.writer import result_json
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Tensor
from service.core.dtypes import DTYPES

NAN, INF = math.nan, math.inf


def written(x: Tensor, output: str = "nested") -> Any:
    """Return the object of a result, read by the standard library."""
    return json.loads(b"".join(result_json(x, output)), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("x", "nested", "flat"),
    [
        pytest.param(
            torch.tensor([[1.5, 2], [3, 4]]), [[1.5, 2], [3, 4]], [1.5, 2, 3, 4], id="rows"
        ),
        pytest.param(torch.tensor(0.1), 0.1, [0.1], id="rank 0"),
        pytest.param(torch.tensor(7, dtype=torch.int8), 7, [7], id="rank 0 integer"),
        pytest.param(torch.tensor(True), True, [True], id="rank 0 boolean"),
        pytest.param(torch.empty(0), [], [], id="empty"),
        pytest.param(torch.empty(2, 0, 3), [[], []], [], id="empty inside"),
        pytest.param(torch.empty(0, 3, dtype=torch.int64), [], [], id="empty int64"),
        pytest.param(
            torch.arange(4).reshape(2, 2).T, [[0, 2], [1, 3]], [0, 2, 1, 3], id="transposed"
        ),
        pytest.param(torch.tensor([1.5]).expand(2, 2), [[1.5, 1.5]] * 2, [1.5] * 4, id="expanded"),
        pytest.param(torch.tensor([True, False]), [True, False], [True, False], id="booleans"),
        pytest.param(torch.tensor([0.5], dtype=torch.float16), [0.5], [0.5], id="float16"),
        pytest.param(torch.tensor([0.5], dtype=torch.bfloat16), [0.5], [0.5], id="bfloat16"),
        pytest.param(torch.tensor(1 + 2j), [1, 2], [1, 2], id="rank 0 complex"),
        pytest.param(torch.tensor([1 + 2j]).conj(), [[1, -2]], [1, -2], id="conjugate"),
        pytest.param(torch.tensor([1 + 2j]).conj().imag, [-2], [-2], id="negative view"),
        pytest.param(
            torch.tensor([[NAN, INF, 0.5, -INF]]),
            [["NaN", "Infinity", 0.5, "-Infinity"]],
            ["NaN", "Infinity", 0.5, "-Infinity"],
            id="words",
        ),
        pytest.param(torch.tensor(NAN), "NaN", ["NaN"], id="rank 0 word"),
        pytest.param(
            torch.tensor([complex(-INF, 1)]), [["-Infinity", 1]], ["-Infinity", 1], id="part"
        ),
        pytest.param(
            torch.tensor([-INF], dtype=torch.float16), ["-Infinity"], ["-Infinity"], id="half"
        ),
        pytest.param(torch.tensor([2**53 - 1, -1]), [2**53 - 1, -1], [2**53 - 1, -1], id="safe"),
        pytest.param(
            torch.tensor([[2**53], [-1]]), [[str(2**53)], ["-1"]], [str(2**53), "-1"], id="large"
        ),
        pytest.param(
            torch.tensor([2**60, 1]).expand(2, 1, 2, 2),
            [[[[str(2**60), "1"]] * 2]] * 2,
            [str(2**60), "1"] * 4,
            id="large and deep",
        ),
        pytest.param(torch.tensor(-(2**63)), str(-(2**63)), [str(-(2**63))], id="least"),
    ],
)
@pytest.mark.usefixtures("reader")
def test_data_are_nested_or_flat(x: Tensor, nested: object, flat: object) -> None:
    """Shape and dtype stand beside them; compiled code writes them, or orjson."""
    for output, data in (("nested", nested), ("flat", flat)):
        answer = written(x, output)
        assert list(answer) == ["shape", "dtype", "data"]
        assert answer["shape"] == list(x.shape)
        assert DTYPES[answer["dtype"]].torch == x.dtype
        assert answer["data"] == data
        assert type(answer["data"]) is type(data)


def test_none_gives_shape_and_dtype_alone() -> None:
    """The data are left out."""
    assert written(torch.ones(2, 3), "none") == {"shape": [2, 3], "dtype": "float32"}


def test_base64_holds_the_little_endian_bytes() -> None:
    """In row-major order, for any strides."""
    x = torch.tensor([[1, 2], [3, 4]], dtype=torch.int16).T
    assert written(x, "base64") == {"shape": [2, 2], "dtype": "int16", "b64": "AQADAAIABAA="}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float64_is_written_in_the_fewest_digits(value: float) -> None:
    """The digits of its repr."""
    text = b"".join(result_json(torch.tensor([value], dtype=torch.float64), "nested"))
    (number,) = json.loads(text, parse_float=Decimal)["data"]
    assert number == Decimal(repr(value))
    assert math.copysign(1, number) == math.copysign(1, value)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_float32_is_written_in_the_fewest_digits(value: float) -> None:
    """The digits of numpy's str, not of the float64 of equal value."""
    text = b"".join(result_json(torch.tensor([value]), "nested"))
    (number,) = json.loads(text, parse_float=Decimal)["data"]
    assert number == Decimal(str(np.float32(value)))


def summary(x: Tensor) -> Any:
    """Return the summary of a tensor."""
    return written(x, "summary")["summary"]


def test_a_summary_describes_a_tensor_without_its_data() -> None:
    """Extremes, mean and norm, counts, a corner and a digest."""
    x = torch.arange(1.0, 10).reshape(3, 3)
    assert written(x, "summary") == {
        "shape": [3, 3],
        "dtype": "float32",
        "summary": {
            "min": 1,
            "max": 9,
            "mean": 5,
            "frobenius": math.sqrt(285),
            "nan": 0,
            "posinf": 0,
            "neginf": 0,
            "corner": x.tolist(),
            "sha256": hashlib.sha256(bytes(to_bytes(x))).hexdigest(),
        },
    }


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        pytest.param(
            torch.tensor([NAN, 1, INF, 3, -INF, NAN]),
            {"min": 1, "max": 3, "mean": 2, "frobenius": "NaN", "nan": 2, "posinf": 1, "neginf": 1},
            id="words",
        ),
        pytest.param(
            torch.tensor([INF, NAN]), {"min": None, "max": None, "mean": None}, id="none finite"
        ),
        pytest.param(
            torch.tensor([INF, 1.0]), {"frobenius": "Infinity", "posinf": 1}, id="infinite norm"
        ),
        pytest.param(
            torch.empty(0, 3),
            {"min": None, "max": None, "mean": None, "frobenius": 0, "corner": []},
            id="empty",
        ),
        pytest.param(torch.zeros(2), {"mean": 0, "frobenius": 0}, id="zeros"),
        pytest.param(
            torch.tensor([3e200, 4e200], dtype=torch.float64),
            {"frobenius": pytest.approx(5e200)},
            id="no overflow",
        ),
        pytest.param(
            torch.tensor([3e-200, 4e-200], dtype=torch.float64),
            {"frobenius": pytest.approx(5e-200, abs=0)},
            id="no underflow",
        ),
        pytest.param(
            torch.tensor([1.5e308] * 4, dtype=torch.float64),
            {"mean": 1.5e308, "frobenius": "Infinity"},
            id="over float64",
        ),
        pytest.param(
            torch.tensor([5e-324, 0], dtype=torch.float64), {"frobenius": 5e-324}, id="subnormal"
        ),
        pytest.param(torch.tensor([0.1]), {"min": 0.1, "max": 0.1}, id="digits of the dtype"),
        pytest.param(
            torch.tensor([2**60, -(2**63)]),
            {"min": str(-(2**63)), "max": str(2**60), "corner": [str(2**60), str(-(2**63))]},
            id="large integers",
        ),
        pytest.param(
            torch.tensor([True, False, True, True]),
            {"min": False, "max": True, "mean": 0.75, "frobenius": math.sqrt(3)},
            id="booleans",
        ),
        pytest.param(
            torch.tensor([3 + 4j, 1 + 0j, complex(NAN, INF)]),
            {
                "min": None,
                "max": None,
                "mean": [2, 2],
                "nan": 1,
                "posinf": 1,
                "frobenius": "Infinity",
            },
            id="complex",
        ),
        pytest.param(
            torch.tensor([3 + 4j], dtype=torch.complex128),
            {"frobenius": 5, "corner": [[3, 4]]},
            id="abs",
        ),
        pytest.param(torch.arange(9), {"corner": [0, 1, 2, 3]}, id="corner of a vector"),
        pytest.param(torch.tensor(5.5), {"corner": 5.5, "mean": 5.5}, id="corner of a number"),
        pytest.param(
            torch.arange(2 * 5 * 6).reshape(2, 5, 6),
            {"corner": [[0, 1, 2, 3], [6, 7, 8, 9], [12, 13, 14, 15], [18, 19, 20, 21]]},
            id="corner of a batch",
        ),
        pytest.param(
            torch.tensor([1.5, 2.5], dtype=torch.bfloat16), {"mean": 2, "max": 2.5}, id="bfloat16"
        ),
    ],
)
def test_a_summary_of_special_tensors(x: Tensor, expected: dict[str, object]) -> None:
    """Nonfinite numbers, empty tensors, extreme magnitudes, every kind of dtype."""
    found = summary(x)
    assert {name: found[name] for name in expected} == expected
    assert orjson.loads(b"".join(result_json(x, "summary")))
