"""Long JSON bodies have the answers and the errors of short ones, whichever process reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient, Response

from tests.rigs.apps import Serve
from tests.rigs.matmul_bodies import PADDING, slow_text

# What compiled code does not read, and each error of it: path, body, and the executor of a result.
UNUSUAL: dict[str, tuple[str, bytes, str]] = {
    "NaN": ("/broadcast", b'{"operands": [[1, "NaN", "-Infinity"]], "to": [3]}', "process"),
    "tie": ("/broadcast", b'{"operands": [[1.000000059604644775390625, 1]], "to": [2]}', "process"),
    "above a tie": (
        "/broadcast",
        b'{"operands": [[1.0000000596046448, 1]], "to": [2]}',
        "process",
    ),
    "beyond int64": ("/broadcast", b'{"operands": [[9223372036854775809]], "to": [1]}', "process"),
    "int64 beyond": (
        "/broadcast",
        b'{"operands": [[1, 9223372036854775808]], "to": [2], "dtype": "int64"}',
        "",
    ),
    "as text": (
        "/broadcast",
        b'{"operands": [{"dtype": "int64", "shape": [], "data": ["9007199254740993"]}], "to": [1]}',
        "process",
    ),
    "negative zero": ("/broadcast", b'{"operands": [[-0, 1]], "to": [2]}', ""),
    "booleans": ("/broadcast", b'{"operands": [[true, false]], "to": [2], "dtype": "bool"}', ""),
    "booleans among numbers": ("/broadcast", b'{"operands": [[1, true]], "to": [2]}', ""),
    "ragged": ("/norm", b'{"x": [[1, 2], [3]]}', ""),
    "depths": ("/norm", b'{"x": [[1, 2], 3]}', ""),
    "null": ("/norm", b'{"x": [1, null]}', ""),
    "an empty row": ("/norm", b'{"x": [[], []]}', ""),
    "beyond float64": ("/norm", b'{"x": [1, 1e400]}', ""),
    "beyond float32": ("/norm", b'{"x": [1, 1e39]}', ""),
    "a key twice": ("/norm", b'{"x": [1, 2], "x": [3]}', ""),
    "an inner key twice": ("/norm", b'{"x": {"data": [1], "data": [2], "shape": [1]}}', ""),
    "an escaped key": ("/norm", b'{"\\u0078": [3, 4]}', "process"),
    "an escaped key twice": ("/norm", b'{"\\u0078": [3, 4], "x": [1]}', ""),
    "deep": ("/norm", b'{"x": [1], "y": ' + b"[" * 99 + b"]" * 99 + b"}", ""),
    "a bare NaN": ("/norm", b'{"x": [1, NaN, 2, 3, 4, 5]}', ""),
    "a leading zero": ("/norm", b'{"x": [1, 01, 2, 3, 4, 5]}', ""),
    "a comma too many": ("/norm", b'{"x": [1, 2, ], "ord": 2, "z": 1}', ""),
    "not UTF-8": ("/norm", b'{"x": [1, 2], "strategy": "\xff"}', ""),
    "a byte order mark": ("/norm", b'\xef\xbb\xbf{"x": [1, 2]}', ""),
    "no object": ("/norm", b"[1, 2]", ""),
    "an unknown field": ("/norm", b'{"x": [1, 2], "order": 2}', ""),
    "a wrong value": ("/norm", b'{"x": [1, 2], "strategy": "fast"}', ""),
    "an operand missing": ("/matmul", b'{"a": [[1, 2]]}', ""),
    "shapes": ("/matmul", b'{"a": [[1, 2]], "b": [[1, 2]]}', ""),
}


def essence(response: Response) -> tuple[int, Any]:
    """Return status and body, without what differs between two responses to one request."""
    body = response.json()
    for name in ("request_id", "instance", "timing"):
        body.pop(name, None)
    return response.status_code, body


@pytest.mark.parametrize("name", UNUSUAL)
async def test_unusual_text(client: AsyncClient, name: str) -> None:
    """The answer or the error, with its words, is that of the short body."""
    path, text, executor = UNUSUAL[name]
    near, middle, far = [
        await client.post(path, content=text + pad) for pad in (b"", b" " * 600_000, PADDING)
    ]
    assert essence(near) == essence(middle) == essence(far)
    if executor:
        assert far.json()["timing"]["executor"] == executor
        assert middle.json()["timing"]["executor"] != executor


NUMBERS = [number / 8 for number in range(-100_000, 100_000)]
LAST: dict[str, tuple[bytes, Any, str]] = {
    "plain": (b"0.5", 0.5, "thread"),
    "NaN": (b'"NaN"', "NaN", "process"),
    "tie": (b"1.000000059604644775390625", 1.0, "process"),
    "above a tie": (b"1.0000000596046448", 1.0000001192092896, "process"),
    "beyond int64": (b"9223372036854775809", 9223372036854775808.0, "process"),
}


@pytest.mark.parametrize("name", LAST)
async def test_one_unusual_number_among_many(client: AsyncClient, name: str) -> None:
    """The others are read as well, and none is lost."""
    text, expected, executor = LAST[name]
    numbers = json.dumps([*NUMBERS, 0.0])[:-4].encode()
    body = b'{"operands": [%b%b]], "to": [200001]}' % (numbers, text)
    assert len(body) > 2**20
    answer = (await client.post("/broadcast", content=body)).json()
    data = answer["result"]["data"]
    assert data[:-1] == NUMBERS
    last = data[-1] if name == "NaN" else np.float32(data[-1])
    assert last == ("NaN" if name == "NaN" else np.float32(expected))
    assert answer["timing"]["executor"] == executor


@pytest.mark.parametrize("path", ["/norm", "/norm/plan", "/norm/compare"])
async def test_an_error_beside_many_numbers(client: AsyncClient, path: str) -> None:
    """A field that is wrong, and an element, are named as beside few."""
    for field, end in ((b'"order": 2', b"1"), (b'"ord": "x"', b"1"), (b'"dim": [0]', b"null")):
        short, long = [
            b'{"x": [%b, %b], %b}' % (numbers, end, field)
            for numbers in (b"1", b"1" + b", 1" * 400_000)
        ]
        assert len(long) > 2**20
        near, far = [await client.post(path, content=each) for each in (short, long)]
        assert near.status_code == far.status_code == 422
        assert near.json()["code"] == far.json()["code"]
        if end == b"1":
            assert essence(near) == essence(far)
        else:
            assert far.json()["errors"][0]["pointer"] == "/x/400001"


async def test_slow_text_that_names_arrays_is_read_in_the_server(
    serve: Serve, tmp_path: Path
) -> None:
    """A worker that dies could have stored the result already; other slow text has a worker."""
    np.save(tmp_path / "x.npy", np.array([3, 4], np.float32))
    async with serve(data=tmp_path) as client:
        for body, executor in (
            (slow_text(b'{"x": {"ref": "x.npy"}}'), "thread"),
            (b'{"x": [[3, 4], ["NaN", 0]], "dim": [1]}' + PADDING, "process"),
        ):
            answer = (await client.post("/norm", content=body)).json()
            found = answer["result"]["data"]
            assert found in (5.0, [5.0, "NaN"])
            assert answer["timing"]["executor"] == executor
