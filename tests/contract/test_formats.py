"""Tensors in JSON, read and written without loss of a bit."""

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
import pytest
from anyio import from_thread, to_thread
from httpx import AsyncClient
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.dtypes import DTYPES

SAFE = 2**53 - 1


async def echo(client: AsyncClient, tensor: Any, shape: list[int], **fields: Any) -> Any:
    """Broadcast a tensor to its own shape, which computes nothing."""
    body = {"operands": [tensor], "to": shape, **fields}
    response = await client.post("/broadcast", content=json.dumps(body).encode())
    assert response.status_code == 200, response.text
    return response.json()


async def result(client: AsyncClient, tensor: Any, shape: list[int], **fields: Any) -> Any:
    """Return the tensor of the response."""
    return (await echo(client, tensor, shape, **fields))["result"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("nested", {"data": [[1.0, 2.0], [3.0, 4.0]]}),
        ("flat", {"data": [1.0, 2.0, 3.0, 4.0]}),
        ("base64", {"b64": b64encode(np.array([1, 2, 3, 4], "<f4").tobytes()).decode()}),
        ("none", {}),
    ],
)
async def test_output_chooses_the_form(
    client: AsyncClient, output: str, expected: dict[str, Any]
) -> None:
    """Shape and dtype are always there; the data are as asked."""
    found = await result(client, [[1, 2], [3, 4]], [2, 2], output=output)
    assert found == {"shape": [2, 2], "dtype": "float32", **expected}


async def test_nested_is_the_default(client: AsyncClient) -> None:
    """Without `output` the data are nested like the shape."""
    assert (await result(client, [[1], [2]], [2, 1]))["data"] == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("tensor", "shape", "data"),
    [
        (5, [], 5.0),
        ([3], [1], [3.0]),
        ([[]], [1, 0], [[]]),
        ([], [0], []),
        ([[[1]], [[2]]], [2, 1, 1], [[[1.0]], [[2.0]]]),
        ({"shape": [2, 2], "data": [1, 2, 3, 4]}, [2, 2], [[1.0, 2.0], [3.0, 4.0]]),
        ({"shape": [2, 2], "data": [[1, 2], [3, 4]]}, [2, 2], [[1.0, 2.0], [3.0, 4.0]]),
        ({"shape": [], "data": 7}, [], 7.0),
        ({"shape": [2, 0, 3], "data": []}, [2, 0, 3], [[], []]),
        ({"data": [1]}, [1], [1.0]),
    ],
    ids=str,
)
async def test_rank_is_kept_as_sent(
    client: AsyncClient, tensor: Any, shape: list[int], data: Any
) -> None:
    """A number has rank 0, [3] rank 1, [[]] is (1, 0); the answer states the shape even so."""
    found = await result(client, tensor, shape)
    assert (found["shape"], found["data"]) == (shape, data)


@pytest.mark.parametrize("name", DTYPES)
async def test_base64_is_little_endian_and_row_major(client: AsyncClient, name: str) -> None:
    """The bytes of a transposed view come back in the order of the answer's shape."""
    dtype = DTYPES[name]
    raw = (np.arange(6 * dtype.itemsize) % 2).astype(np.uint8).tobytes()
    tensor = {"shape": [2, 3], "dtype": name, "b64": b64encode(raw).decode()}
    if name == "bool":
        found = await result(client, tensor, [2, 3], output="base64")
        assert b64decode(found["b64"]) == raw
        return
    body = {"equation": "ij->ji", "operands": [tensor], "output": "base64"}
    found = (await client.post("/einsum", json=body)).json()["result"]
    rows = np.frombuffer(raw, np.uint8).reshape(2, 3, dtype.itemsize)
    assert found["shape"] == [3, 2]
    assert b64decode(found["b64"]) == rows.swapaxes(0, 1).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
async def test_what_is_not_finite_is_a_word(client: AsyncClient, dtype: str) -> None:
    """NaN and infinities are strings both ways, among numbers and alone."""
    words = ["NaN", 1.5, "Infinity", -2.0, "-Infinity"]
    assert (await result(client, words, [5], dtype=dtype))["data"] == words
    for word in ("NaN", "Infinity", "-Infinity"):
        assert (await result(client, word, [], dtype=dtype))["data"] == word


async def test_a_complex_number_is_a_pair(client: AsyncClient) -> None:
    """Pairs on a last axis, flat as 2n numbers, words in either part."""
    pairs = [[1.0, -2.0], ["NaN", "Infinity"]]
    found = await result(client, pairs, [2], dtype="complex64")
    assert found == {"shape": [2], "dtype": "complex64", "data": pairs}
    flat = await result(client, pairs, [2], dtype="complex64", output="flat")
    assert flat["data"] == [1.0, -2.0, "NaN", "Infinity"]
    again = await result(client, flat, [2])
    assert again["data"] == pairs
    alone = await result(client, {"shape": [], "dtype": "complex128", "data": [3, 4]}, [])
    assert alone["data"] == [3.0, 4.0]


async def test_products_of_complex_numbers(client: AsyncClient) -> None:
    """(1 + 2i)(3 - i) is 5 + 5i."""
    body = {"a": [[1, 2]], "b": [[3, -1]], "dtype": "complex128"}
    assert (await client.post("/matmul", json=body)).json()["result"]["data"] == [5.0, 5.0]


@pytest.mark.parametrize(
    "data",
    [[SAFE + 1, 0], [0, -SAFE - 1], [2**63 - 1, -(2**63)], [[2**60 + 1], [7]]],
    ids=str,
)
async def test_large_integers_are_strings_all_of_them(client: AsyncClient, data: Any) -> None:
    """Beyond 2^53 - 1 the whole tensor is written as decimal strings, and read back from them."""
    shape = list(np.shape(data))
    expected = np.vectorize(str)(np.array(data, object)).tolist()
    found = await result(client, data, shape, dtype="int64")
    assert found["data"] == expected
    assert (await result(client, found, shape)) == found


async def test_integers_within_the_limit_are_numbers(client: AsyncClient) -> None:
    """Integers that every JSON reader keeps exactly are written in digits."""
    assert (await result(client, [SAFE, -SAFE], [2], dtype="int64"))["data"] == [SAFE, -SAFE]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
async def test_integers_may_come_as_strings(client: AsyncClient, dtype: str) -> None:
    """Decimal strings, whole floats and integers are the same number."""
    found = await result(client, ["7", 7, 7.0, "0"], [4], dtype=dtype)
    assert found["data"] == [7, 7, 7, 0]


async def test_booleans_come_back_as_such(client: AsyncClient) -> None:
    """true and false, where dtype is bool."""
    data = [[True, False], [False, True]]
    assert (await result(client, data, [2, 2], dtype="bool"))["data"] == data


@pytest.mark.parametrize(
    "text",
    ["-0.0", "5e-324", "2.2250738585072014e-308", "1.7976931348623157e+308", "0.1", "1e23"],
)
async def test_float64_keeps_every_bit(client: AsyncClient, text: str) -> None:
    """-0.0, subnormals and extremes come back as the same number, sign included."""
    body = f'{{"operands": [[{text}]], "to": [1], "dtype": "float64"}}'.encode()
    found = (await client.post("/broadcast", content=body)).json()["result"]["data"][0]
    assert float.hex(found) == float.hex(float(text))


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, "float32", "0.1"),
        (0.1, "float64", "0.1"),
        (16777216, "float32", "16777216.0"),
        (1e-45, "float32", "1e-45"),
        (0.30000001192092896, "float32", "0.3"),
        (-0.0, "float32", "-0.0"),
        (1e20, "float64", "1e+20"),
    ],
)
async def test_floats_are_the_shortest_text(
    client: AsyncClient, value: float, dtype: str, text: str
) -> None:
    """The fewest digits that read back equal in the dtype, not in float64."""
    body = {"operands": [[value]], "to": [1], "dtype": dtype}
    response = await client.post("/broadcast", json=body)
    assert f'"data":[{text}]' in response.text


@pytest.mark.parametrize("name", DTYPES)
async def test_every_bit_pattern_makes_the_round_trip(client: AsyncClient, name: str) -> None:
    """Any bytes of any dtype, through base64, nested and flat text, are the same bytes again."""
    size = DTYPES[name].itemsize

    @settings(max_examples=30, derandomize=True, database=None)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        raw = data.draw(st.binary(min_size=prod(shape) * size, max_size=prod(shape) * size))
        from_thread.run(check_round_trip, client, name, shape, raw)

    # Examples are drawn in a thread; the requests stay in the event loop of the client.
    await to_thread.run_sync(holds)


async def check_round_trip(client: AsyncClient, name: str, shape: list[int], raw: bytes) -> None:
    """Fail unless the tensor of these bytes comes back bit for bit."""
    if name == "bool":
        raw = bytes(byte % 2 for byte in raw)
    tensor = {"shape": shape, "dtype": name, "b64": b64encode(raw).decode()}
    back = await result(client, tensor, shape, output="base64")
    assert b64decode(back["b64"]) == raw
    for output in ("nested", "flat"):
        text = await result(client, tensor, shape, output=output)
        again = await result(client, text, shape, output="base64")
        assert without_payload(b64decode(again["b64"]), name) == without_payload(raw, name)


def without_payload(raw: bytes, name: str) -> bytes:
    """The bytes, all NaN made the same one: the word `NaN` has no payload and no sign."""
    dtype = DTYPES[name]
    if name == "bfloat16":
        bits = np.frombuffer(raw, "<u2").copy()
        bits[(bits & 0x7FFF) > 0x7F80] = 0x7FC0
        return bits.tobytes()
    part = {"complex64": "<f4", "complex128": "<f8"}.get(name, dtype.numpy)
    values = np.frombuffer(raw, part).copy()
    if values.dtype.kind == "f":
        values[np.isnan(values)] = np.nan
    return values.tobytes()


@pytest.mark.parametrize(
    ("a", "b", "asked", "dtype"),
    [
        ([1], [2], None, "float32"),
        ([1], [2], "int64", "int64"),
        ([1], [2], "INT64", "int64"),
        ([1], [2], "BF16", "bfloat16"),
        ({"dtype": "FP64", "data": [1]}, [2], None, "float64"),
        ({"dtype": "int32", "data": [1]}, [2], None, "int32"),
        ({"dtype": "int8", "data": [1]}, {"dtype": "uint8", "data": [2]}, None, "int16"),
        ({"dtype": "int64", "data": [1]}, {"dtype": "float16", "data": [2]}, None, "float16"),
        ({"dtype": "float16", "data": [1]}, {"dtype": "bfloat16", "data": [2]}, None, "float32"),
        ({"dtype": "float64", "data": 1}, {"dtype": "float32", "data": [2]}, None, "float64"),
        ({"dtype": "int8", "data": [1]}, [2], "float64", "float64"),
        (
            {"dtype": "float64", "data": [1]},
            {"dtype": "complex64", "data": [[2, 0]]},
            None,
            "complex128",
        ),
    ],
    ids=str,
)
async def test_dtypes_are_promoted(
    client: AsyncClient, a: Any, b: Any, asked: str | None, dtype: str
) -> None:
    """Plain arrays take the asked dtype, else the stated ones', else float32; then promotion."""
    body = {"op": "add", "operands": [a, b]} | ({} if asked is None else {"dtype": asked})
    answer = (await client.post("/broadcast", json=body)).json()
    assert answer["result"]["dtype"] == dtype
    assert answer["result"]["data"] == ([[3.0, 0.0]] if dtype.startswith("complex") else [3])


@pytest.mark.parametrize("name", [name for name in DTYPES if DTYPES[name].protocol])
async def test_protocol_names_are_synonyms(client: AsyncClient, name: str) -> None:
    """The Open Inference Protocol's spelling is read; the answer has ours."""
    data = [True] if name == "bool" else [1]
    found = await result(client, {"dtype": DTYPES[name].protocol, "data": data}, [1])
    assert found["dtype"] == name


@pytest.mark.parametrize(
    ("value", "dtype", "warned"),
    [
        (2**24, "float32", False),
        (2**24 + 1, "float32", True),
        (2**53, "float64", False),
        (2**53 + 1, "float64", True),
        (2049, "float16", True),
        (257, "bfloat16", True),
        (0.1, "float32", False),
        (2**53 + 1, "int64", False),
        (2**64 + 1, "float32", True),
        (2**64 + 1, "float64", True),
        (-(2**63) - 1, "float64", True),
        (2**70, "float64", False),
        (10**20, "float64", False),
        (123456789012345678901234567890, "float32", True),
        (123456789012345678901234567890, "float64", True),
        (123456789012345678901234567890, "bfloat16", True),
        (123456789012345680000, "float64", False),  # so JavaScript writes the float64
        (1180591600000000000000, "float32", False),  # 2**70, in the digits of a float32
        (1e30, "float64", False),
    ],
)
async def test_a_whole_number_that_loses_digits_is_told(
    client: AsyncClient, value: float, dtype: str, warned: bool
) -> None:
    """The warning says which number, where, and what was used; fractions are rounded silently."""
    answer = await echo(client, [0, value], [2], dtype=dtype)
    assert len(answer["warnings"]) == warned
    if warned:
        (warning,) = answer["warnings"]
        assert str(value) in warning
        assert "/operands/0/1" in warning
        assert dtype in warning


@pytest.mark.parametrize("beside", [1.5, 2**60 + 1, "NaN", 1e300])
async def test_a_large_whole_number_beside_others(client: AsyncClient, beside: object) -> None:
    """An integer beyond 64 bits is told from a float wherever it stands; its digits are bounded."""
    answer = await echo(client, [beside, 10**200 + 1], [2], dtype="float64")
    (warning,) = answer["warnings"]
    assert len(warning) < 250
    assert ("/operands/0/0" if beside == 2**60 + 1 else "/operands/0/1") in warning


async def test_the_summary_tells_of_the_tensor(client: AsyncClient) -> None:
    """Extremes and mean of the finite numbers, counts of the others, a corner, the digest."""
    values = [[1.0, -2.0, "NaN"], ["Infinity", 3.0, "-Infinity"]]
    found = await result(client, values, [2, 3], output="summary")
    assert "data" not in found
    raw = np.array([1, -2, np.nan, np.inf, 3, -np.inf], "<f4").tobytes()
    assert found["summary"] == {
        "min": -2.0,
        "max": 3.0,
        "mean": pytest.approx(2 / 3),
        "frobenius": "NaN",
        "nan": 1,
        "posinf": 1,
        "neginf": 1,
        "corner": values,
        "sha256": sha256(raw).hexdigest(),
    }


async def test_the_corner_is_small(client: AsyncClient) -> None:
    """At most 4 by 4 elements of the last two axes; the digest is of all bytes."""
    values = np.arange(2 * 10 * 20, dtype="<f4").reshape(2, 10, 20)
    found = await result(client, values.tolist(), [2, 10, 20], output="summary")
    assert found["summary"]["corner"] == values[0, :4, :4].tolist()
    assert found["summary"]["sha256"] == sha256(values.tobytes()).hexdigest()
    assert found["summary"]["frobenius"] == pytest.approx(float(np.linalg.norm(values)))
    assert (found["summary"]["min"], found["summary"]["max"]) == (0.0, 399.0)


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ({"shape": [0], "data": []}, [0]),
        ({"dtype": "bool", "data": [True, False]}, [2]),
        ({"dtype": "complex64", "data": [[1, 2]]}, [1]),
        ({"dtype": "int64", "data": [2**62]}, [1]),
        ({"dtype": "bfloat16", "data": 1}, []),
    ],
    ids=str,
)
async def test_everything_has_a_summary(client: AsyncClient, tensor: Any, shape: list[int]) -> None:
    """Empty, boolean, complex and rank 0: all the fields are there."""
    found = await result(client, tensor, shape, output="summary")
    assert set(found["summary"]) == {
        *("min", "max", "mean", "frobenius", "nan", "posinf", "neginf", "corner", "sha256")
    }


@pytest.mark.parametrize("rows", [3, 40], ids=["small", "large"])
async def test_large_bodies_are_read_like_small_ones(client: AsyncClient, rows: int) -> None:
    """Integers, floats and fractions mixed are the same numbers whatever the size of the body."""
    values = np.random.default_rng(0).standard_normal((rows, 40))
    values[::2] = np.rint(values[::2] * 100)
    data = [[int(x) if x == int(x) else x for x in row] for row in values.tolist()]
    found = await result(client, data, [rows, 40], dtype="float64")
    np.testing.assert_array_equal(found["data"], values)
