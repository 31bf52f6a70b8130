"""Tensors as bytes over HTTP: every dtype in every pair of formats, and hostile bodies."""

import io
import json
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from anyio import from_thread, to_thread
from httpx import AsyncClient, Response
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from service.codecs import READERS, WRITERS
from service.core.dtypes import DTYPES
from tests.rigs.apps import Serve
from tests.rigs.request_bodies import (
    IN_NUMPY,
    IN_SAFETENSORS,
    JSON,
    NPY,
    NPZ,
    RAW,
    SAFETENSORS,
    bits_of,
    entry,
    npy,
    npy_of,
    npz_of,
    safetensors,
    safetensors_of,
    tensor_of,
    zip_of,
    zipped,
)

HOLDS: Mapping[str, list[str]] = {
    JSON: list(DTYPES),
    SAFETENSORS: IN_SAFETENSORS,
    NPZ: IN_NUMPY,
    NPY: IN_NUMPY,
    RAW: list(DTYPES),
}
HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"


def body_of(tensor: torch.Tensor, media_type: str) -> bytes:
    """Return the body of one operand, written by the format's own package."""
    if media_type == SAFETENSORS:
        return safetensors_of({"0": tensor})
    if media_type == NPZ:
        return npz_of({"0": tensor.numpy()})
    if media_type == NPY:
        return npy_of(tensor.numpy())
    value = {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "b64": b64encode(bits_of(tensor)).decode(),
    }
    return orjson.dumps({"operands": [value], "to": list(tensor.shape)})


def result_of(response: Response) -> tuple[str, tuple[int, ...], bytes]:
    """Return dtype, shape and bytes of a response in any format but JSON."""
    media_type = response.headers["Content-Type"]
    if media_type == SAFETENSORS:
        tensor = load(response.content)["result"]
    elif media_type == NPY:
        tensor = torch.from_numpy(np.load(io.BytesIO(response.content), allow_pickle=False))
    else:
        shape = response.headers["X-Tensor-Shape"]
        sizes = tuple(int(size) for size in shape.split(",") if size)
        return response.headers["X-Tensor-Dtype"], sizes, response.content
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), bits_of(tensor)


async def post(
    client: AsyncClient, path: str, body: bytes, content: str, accept: str = JSON, **query: str
) -> Response:
    """Send a body of a media type."""
    headers = {"Content-Type": content, "Accept": accept}
    return await client.post(path, content=body, headers=headers, params=query)


async def check_echo(
    client: AsyncClient, tensor: torch.Tensor, content: str, accept: str
) -> Response:
    """Assert that a tensor comes back bit for bit."""
    query = {} if content == JSON else {"to": json.dumps(list(tensor.shape))}
    body = body_of(tensor, content)
    response = await post(client, "/broadcast", body, content, accept, **query)
    assert response.status_code == 200, response.text
    name = str(tensor.dtype).removeprefix("torch.")
    assert result_of(response) == (name, tuple(tensor.shape), bits_of(tensor))
    return response


@pytest.mark.parametrize(
    ("content", "accept", "name"),
    [
        (content, accept, name)
        for content, accept in product(READERS, WRITERS)
        for name in DTYPES
        if accept != JSON and name in HOLDS[content] and name in HOLDS[accept]
    ],
)
async def test_every_dtype_makes_the_round_trip(
    client: AsyncClient, content: str, accept: str, name: str
) -> None:
    """Bit for bit, from any format into any other; empty tensors and rank 0 too."""
    for shape in ((2, 3), (), (0,), (3, 0, 2)):
        response = await check_echo(client, tensor_of(name, shape), content, accept)
        envelope = json.loads(response.headers["X-Envelope"])
        assert envelope["strategy"] == response.headers["X-Strategy"]
        assert envelope["device"] == response.headers["X-Device"] == "cpu"
        assert envelope["request_id"] == response.headers["X-Request-Id"]
        assert "result" not in envelope
        assert "total;dur=" in response.headers["Server-Timing"]


@pytest.mark.parametrize("accept", [SAFETENSORS, NPY, RAW])
@pytest.mark.parametrize("content", [SAFETENSORS, NPZ, NPY])
async def test_any_bits_make_the_round_trip(client: AsyncClient, content: str, accept: str) -> None:
    """Drawn shapes and bytes."""
    names = [name for name in DTYPES if name in HOLDS[content] and name in HOLDS[accept]]

    @settings(max_examples=20, derandomize=True, database=None)
    @given(st.sampled_from(names), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**32))
    def holds(name: str, shape: list[int], seed: int) -> None:
        tensor = tensor_of(name, tuple(shape), seed)
        from_thread.run(check_echo, client, tensor, content, accept)

    await to_thread.run_sync(holds)


@pytest.mark.parametrize("content", [SAFETENSORS, NPZ])
async def test_a_product_of_bytes_is_that_of_json(client: AsyncClient, content: str) -> None:
    """Operands by their names, fields in the query, the same answer."""
    a, b = torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(3, 4)
    body = (
        safetensors_of({"b": b, "a": a})
        if content == SAFETENSORS
        else npz_of({"b": b.numpy(), "a": a.numpy()})
    )
    response = await post(client, "/matmul", body, content, strategy="numpy", output="flat")
    found = response.json()
    assert found["strategy"] == "numpy"
    assert found["result"]["data"] == (a @ b).reshape(-1).tolist()


async def test_columns_first_is_no_error(client: AsyncClient) -> None:
    """numpy saves a transposed array so."""
    x = np.arange(6.0).reshape(2, 3).T
    response = await post(client, "/broadcast", npy_of(x), NPY, to="[3,2]")
    assert response.json()["result"]["data"] == x.tolist()


async def test_large_bodies_go_another_way_to_the_same_answer(client: AsyncClient) -> None:
    """Beyond what is decoded in the event loop."""
    a = np.random.default_rng(0).standard_normal((600, 600))
    tensors = {"a": torch.from_numpy(a), "b": torch.from_numpy(a.T.copy())}
    response = await post(client, "/matmul", safetensors_of(tensors), SAFETENSORS, RAW)
    found = np.frombuffer(response.content).reshape(600, 600)
    np.testing.assert_allclose(found, a @ a.T)


async def test_plans_and_races_read_bytes_too(client: AsyncClient) -> None:
    """Their answers stay JSON; the query has the fields of the route."""
    body = safetensors_of({"x": torch.ones(3, 4)})
    plan = await post(client, "/norm/plan", body, SAFETENSORS, dim="0")
    assert plan.json()["result"]["shape"] == [4]
    race = await post(
        client, "/norm/compare", body, SAFETENSORS, strategies='["torch","numpy"]', repeat="2"
    )
    assert [row["strategy"] for row in race.json()["rows"]] == ["torch", "numpy"]
    refused = await post(client, "/norm/plan", body, SAFETENSORS, RAW)
    assert refused.status_code == 406


@pytest.mark.parametrize(
    ("accept", "name", "able"),
    [
        (SAFETENSORS, "complex128", {JSON, NPY, RAW}),
        (NPY, "bfloat16", {JSON, SAFETENSORS, RAW}),
    ],
)
async def test_a_format_may_not_hold_the_result(
    client: AsyncClient, accept: str, name: str, able: set[str]
) -> None:
    """406 names those that can, before anything is computed."""
    body = body_of(tensor_of(name, (2,)), JSON)
    response = await post(client, "/broadcast", body, JSON, accept)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (406, "not-acceptable")
    assert name in problem["detail"]
    assert all(each in problem["detail"] for each in able)


@pytest.mark.parametrize("accept", [SAFETENSORS, NPY, RAW])
@pytest.mark.parametrize("output", ["nested", "base64", "none"])
async def test_output_belongs_to_json(client: AsyncClient, accept: str, output: str) -> None:
    """Beside another format it is refused, in a query and in a JSON body."""
    tensor = torch.ones(2)
    bodies: tuple[tuple[bytes, str, dict[str, str]], ...] = (
        (safetensors_of({"x": tensor}), SAFETENSORS, {"output": output}),
        (orjson.dumps({"x": [1, 1], "output": output}), JSON, {}),
    )
    for body, content, query in bodies:
        response = await post(client, "/norm", body, content, accept, **query)
        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "invalid-field")
        assert problem["errors"][0]["pointer"] == "/output"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", JSON),
        ("application/*", JSON),
        (f"{RAW}, {JSON};q=0.5", RAW),
        (f"{RAW};q=0.5, {JSON}", JSON),
        (f"{NPY};q=0.1, {SAFETENSORS};q=0.2", SAFETENSORS),
        (f"{JSON};q=0, application/*", SAFETENSORS),
        (f"text/html, {NPY}", NPY),
        (f"{NPY.upper()}", NPY),
    ],
)
async def test_accept_chooses_the_format(client: AsyncClient, accept: str, media_type: str) -> None:
    """The highest quality wins; JSON wins a tie."""
    response = await post(client, "/norm", b'{"x": [3, 4]}', JSON, accept)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == media_type


async def test_refusals_list_what_there_is(client: AsyncClient) -> None:
    """They list all formats that are read, and all that are written."""
    unread = await post(client, "/norm", b"", RAW)
    assert unread.status_code == 415
    assert all(name in unread.json()["detail"] for name in READERS)
    unwritten = await post(client, "/norm", b'{"x": [1]}', JSON, NPZ)
    assert unwritten.status_code == 406
    assert all(name in unwritten.json()["detail"] for name in WRITERS)


async def test_a_long_envelope_is_cut(client: AsyncClient) -> None:
    """The header stays under 4 KB; safetensors holds all of it as metadata."""
    tensors = {str(index): torch.ones((1,) * 16) for index in range(40)}
    body = safetensors_of(tensors)
    response = await post(client, "/broadcast", body, SAFETENSORS, SAFETENSORS, op="add")
    header = response.headers["X-Envelope"]
    assert len(header) <= 4096
    assert json.loads(header)["dropped"] == ["broadcast"]
    length = int.from_bytes(response.content[:8], "little")
    metadata = json.loads(response.content[8 : 8 + length])["__metadata__"]
    assert len(json.loads(metadata["envelope"])["broadcast"]["operands"]) == 40


async def test_members_count_when_they_are_inflated(serve: Serve) -> None:
    """Toward the limit of the body, which the archive itself is far below."""
    body = npz_of({"x": np.zeros(10_000)}, deflated=True)
    async with serve(max_body_bytes=40_000) as client:
        response = await post(client, "/norm", body, NPZ)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (413, "body-too-large")
    assert "SERVICE_MAX_BODY_BYTES" in problem["detail"]
    assert len(body) < 2000


def descr(text: str, data: bytes = b"\0" * 8) -> bytes:
    """An npy file of one element whose dtype is that text."""
    return npy(f"{{'descr': {text}, 'fortran_order': False, 'shape': (1,), }}", data)


def pickled() -> bytes:
    """An npy file that only a pickle could read."""
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    return file.getvalue()


ONE = {"x": entry("F32", [1], 0, 4)}
TWIN = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
FILE = npy_of(np.ones(2, np.float32))
BAD = "malformed-body"
# A body for /norm: what it is, its media type, the query, and the status and code of the answer.
HOSTILE: dict[str, tuple[bytes, str, str, int, str]] = {
    "safetensors: empty": (b"", SAFETENSORS, "", 400, BAD),
    "safetensors: seven bytes": (b"\0" * 7, SAFETENSORS, "", 400, BAD),
    "safetensors: no header": (b"\0" * 8, SAFETENSORS, "", 400, BAD),
    "safetensors: header of 2^64 - 1": (b"\xff" * 8, SAFETENSORS, "", 400, BAD),
    "safetensors: header of 2^63": (safetensors(ONE, length=2**63), SAFETENSORS, "", 400, BAD),
    "safetensors: long header": (safetensors(b" " * 70_000), SAFETENSORS, "", 400, BAD),
    "safetensors: cut header": (safetensors(ONE, length=999), SAFETENSORS, "", 400, BAD),
    "safetensors: no JSON": (safetensors(b"{'x': 1}"), SAFETENSORS, "", 400, BAD),
    "safetensors: deep": (safetensors(b"[" * 60_000), SAFETENSORS, "", 400, BAD),
    "safetensors: a list": (safetensors(b"[]"), SAFETENSORS, "", 400, BAD),
    "safetensors: a space first": (safetensors(b" {}"), SAFETENSORS, "", 400, BAD),
    "safetensors: bad UTF-8": (safetensors(b'{"\xff":1}'), SAFETENSORS, "", 400, BAD),
    "safetensors: twins": (safetensors(TWIN + TWIN[1:-1] + b"}", b"\0"), SAFETENSORS, "", 400,
                           "duplicate-key"),
    "safetensors: twins by escape": (
        safetensors(TWIN + TWIN[1:-1].replace(b"x", b"\\u0078") + b"}", b"\0"),
        SAFETENSORS, "", 400, "duplicate-key"),
    "safetensors: metadata": (safetensors({"__metadata__": {"a": []}}), SAFETENSORS, "", 400, BAD),
    "safetensors: no entry": (safetensors({"x": None}), SAFETENSORS, "", 400, BAD),
    "safetensors: no offsets": (safetensors({"x": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
                                SAFETENSORS, "", 400, BAD),
    "safetensors: negative size": (safetensors({"x": entry("F32", [-1], 0, 4)}, b"\0" * 4),
                                   SAFETENSORS, "", 400, BAD),
    "safetensors: float size": (safetensors({"x": entry("F32", [1.0], 0, 4)}, b"\0" * 4),
                                SAFETENSORS, "", 400, BAD),
    "safetensors: huge size": (safetensors({"x": entry("F32", [2**62] * 9, 0, 4)}, b"\0" * 4),
                               SAFETENSORS, "", 400, BAD),
    "safetensors: rank 65": (safetensors({"x": entry("F32", [1] * 65, 0, 4)}, b"\0" * 4),
                             SAFETENSORS, "", 400, BAD),
    "safetensors: rank 17": (safetensors({"x": entry("F32", [1] * 17, 0, 4)}, b"\0" * 4),
                             SAFETENSORS, "", 422, "limit-exceeded"),
    "safetensors: huge and empty": (safetensors({"x": entry("F32", [0, 2**40, 2**40], 0, 0)}),
                                    SAFETENSORS, "", 422, "limit-exceeded"),
    "safetensors: offsets backwards": (safetensors({"x": entry("F32", [1], 4, 0)}, b"\0" * 4),
                                       SAFETENSORS, "", 400, BAD),
    "safetensors: offsets too far": (safetensors({"x": entry("F32", [1], 2**62, 2**62 + 4)}),
                                     SAFETENSORS, "", 400, BAD),
    "safetensors: cut data": (safetensors(ONE, b"\0" * 3), SAFETENSORS, "", 400, BAD),
    "safetensors: more data": (safetensors(ONE, b"\0" * 5), SAFETENSORS, "", 400, BAD),
    "safetensors: a hole": (safetensors({"x": entry("F32", [1], 4, 8)}, b"\0" * 8),
                            SAFETENSORS, "", 400, BAD),
    "safetensors: overlap": (safetensors({**ONE, "y": entry("F32", [1], 0, 4)}, b"\0" * 4),
                             SAFETENSORS, "", 400, BAD),
    "safetensors: float8": (safetensors({"x": entry("F8_E4M3", [4], 0, 4)}, b"\0" * 4),
                            SAFETENSORS, "", 422, "unknown-dtype"),
    "safetensors: bool of 2": (safetensors({"x": entry("BOOL", [1], 0, 1)}, b"\2"),
                               SAFETENSORS, "", 422, "invalid-element"),
    "safetensors: no operand": (safetensors({}), SAFETENSORS, "", 422, "missing-field"),
    "safetensors: another name": (safetensors({"y": ONE["x"]}, b"\0" * 4), SAFETENSORS, "", 422,
                                  "unknown-field"),
    "safetensors: a name more": (
        safetensors({**ONE, "__proto__": entry("U8", [0], 4, 4)}, b"\0" * 4),
        SAFETENSORS, "", 422, "unknown-field"),
    "npy: empty": (b"", NPY, "", 400, BAD),
    "npy: magic alone": (b"\x93NUMPY", NPY, "", 400, BAD),
    "npy: a zip": (zip_of({"x.npy": FILE}), NPY, "", 400, BAD),
    "npy: version 9": (npy(HEADER, b"\0" * 4, version=9), NPY, "", 400, BAD),
    "npy: header of 2^32 - 1": (npy(HEADER, version=2, length=2**32 - 1), NPY, "", 400, BAD),
    "npy: cut header": (npy(HEADER, length=999), NPY, "", 400, BAD),
    "npy: cut data": (npy(HEADER, b"\0" * 3), NPY, "", 400, BAD),
    "npy: more data": (npy(HEADER, b"\0" * 5), NPY, "", 400, BAD),
    "npy: code": (npy("__import__('os').abort()"), NPY, "", 400, BAD),
    "npy: parentheses": (npy("(" * 4000), NPY, "", 400, BAD),
    "npy: a number for a shape": (npy(HEADER.replace("(1,)", "1"), b"\0" * 4), NPY, "", 400, BAD),
    "npy: negative size": (npy(HEADER.replace("(1,)", "(-1,)")), NPY, "", 400, BAD),
    "npy: huge size": (npy(HEADER.replace("(1,)", "(9999999999999999999,)")), NPY, "", 400, BAD),
    "npy: huge and empty": (npy(HEADER.replace("(1,)", f"(0, {2**62},)")), NPY, "", 422,
                            "limit-exceeded"),
    "npy: a key twice": (npy(HEADER.replace("}", "'shape': (1,), }"), b"\0" * 4), NPY, "", 400,
                         BAD),
    "npy: objects": (pickled(), NPY, "", 422, "unknown-dtype"),
    "npy: big-endian": (descr("'>f8'"), NPY, "", 422, "unknown-dtype"),
    "npy: text": (npy_of(np.array(["abc"])), NPY, "", 422, "unknown-dtype"),
    "npy: dates": (npy_of(np.array(["2020-01-01"], "M8[D]")), NPY, "", 422, "unknown-dtype"),
    "npy: records": (npy_of(np.zeros(1, [("a", "<f4")])), NPY, "", 422, "unknown-dtype"),
    "npy: long double": (npy_of(np.zeros(1, np.longdouble)), NPY, "", 422, "unknown-dtype"),
    "npy: uint64": (npy_of(np.zeros(1, np.uint64)), NPY, "", 422, "unknown-dtype"),
    "npy: bool of 2": (descr("'|b1'", b"\2"), NPY, "", 422, "invalid-element"),
    "npz: empty": (b"", NPZ, "", 400, BAD),
    "npz: an npy": (FILE, NPZ, "", 400, BAD),
    "npz: no members": (zip_of({}), NPZ, "", 422, "missing-field"),
    "npz: a path": (zip_of({"../../x.npy": FILE}), NPZ, "", 422, "unknown-field"),
    "npz: no suffix": (zip_of({"x": FILE}), NPZ, "", 400, BAD),
    "npz: text": (zip_of({"x.npy": b"hello"}), NPZ, "", 400, BAD),
    "npz: a pickle": (zip_of({"x.npy": pickled()}), NPZ, "", 422, "unknown-dtype"),
    "npz: twins": (zipped(b"x.npy", FILE, times=2, count=2), NPZ, "", 400, "duplicate-key"),
    "npz: 5000 members": (zip_of({f"{i}.npy": b"" for i in range(5000)}), NPZ, "", 422,
                          "limit-exceeded"),
    "npz: encrypted": (zipped(b"x.npy", FILE, flags=1), NPZ, "", 400, BAD),
    "npz: bzip2": (zip_of({"x.npy": FILE}, method=zipfile.ZIP_BZIP2), NPZ, "", 400, BAD),
    "npz: zip64": (zipped(b"x.npy", FILE, packed=2**32 - 1, size=2**32 - 1), NPZ, "", 400, BAD),
    "npz: checksum": (zipped(b"x.npy", FILE, checksum=0), NPZ, "", 400, BAD),
    "npz: offset": (zipped(b"x.npy", FILE, offset=3), NPZ, "", 400, BAD),
    "npz: bad deflate": (zipped(b"x.npy", FILE, method=8), NPZ, "", 400, BAD),
    "npz: claims 1 GB": (zipped(b"x.npy", zlib.compress(FILE)[2:-4], method=8, size=2**30), NPZ,
                         "", 413, "body-too-large"),
    "npz: claims 1 MB": (zipped(b"x.npy", zlib.compress(FILE)[2:-4], method=8, size=2**20), NPZ,
                         "", 400, BAD),
    "query: an operand": (FILE, NPY, "x=[1]", 422, "unknown-field"),
    "query: unknown": (FILE, NPY, "nonsense=1", 422, "unknown-field"),
    "query: twice": (FILE, NPY, "dim=0&dim=1", 400, "duplicate-key"),
    "query: bad JSON": (FILE, NPY, "dim=[0", 422, "invalid-field"),
    "query: a word for a number": (FILE, NPY, "dim=first", 422, "invalid-field"),
    "query: a number for a word": (FILE, NPY, "strategy=1", 422, "unknown-strategy"),
    "query: deep": (FILE, NPY, "dim=" + "[" * 3000, 422, "invalid-field"),
    "query: in both": (b'{"x": [1], "dim": 0}', JSON, "dim=0", 400, "duplicate-key"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_body_gets_its_problem(client: AsyncClient, case: str) -> None:
    """Status and code are exact, the problem is short, and the service still serves."""
    body, content, query, status, code = HOSTILE[case]
    headers = {"Content-Type": content}
    response = await client.post(f"/norm?{query}", content=body, headers=headers)
    problem: Any = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert response.headers["Content-Type"] == "application/problem+json"
    assert len(response.content) < 3000


async def test_one_tensor_is_no_product(client: AsyncClient) -> None:
    """The hint says which formats hold two."""
    response = await post(client, "/matmul", FILE, NPY)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "missing-field")
    assert "npz" in problem["hint"]
