"""Stored arrays as operands and results; a name from a client is never a path."""

import gzip
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient

from service.api.app import create_app
from service.codecs import Body
from service.codecs.stored_arrays import names_array
from service.core.dtypes import DTYPES
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.apps import Serve, client_of, running
from tests.rigs.requirements import needs

Json = dict[str, Any]
SECRET = np.full((2, 2), 7.0, np.float32)
A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of stored arrays, and a file beside it that must not be reachable."""
    np.save(tmp_path / "secret.npy", SECRET)
    folder = tmp_path / "data"
    (folder / "layers").mkdir(parents=True)
    np.save(folder / "a.npy", A)
    np.save(folder / "layers" / "turned.npy", np.asfortranarray(A))
    (folder / "out.npy").symlink_to(tmp_path / "secret.npy")
    (folder / "up").symlink_to(tmp_path)
    (folder / "inside.npy").symlink_to(folder / "a.npy")
    np.save(folder / ".hidden.npy", SECRET)
    os.mkfifo(folder / "pipe.npy")
    (folder / "empty.npy").touch()
    (folder / "text.npy").write_text("no numbers")
    (folder / "words.txt").write_text("no array")
    np.save(folder / "big-endian.npy", A.astype(">f4"))
    short = (folder / "a.npy").read_bytes()[:-1]
    (folder / "short.npy").write_bytes(short)
    return folder


@pytest.fixture
async def client(data: Path, cost_model: CostModel) -> AsyncIterator[AsyncClient]:
    """A client of a service with that folder."""
    app = create_app(Settings(data=data, max_elements=1000), cost_model=cost_model)
    async with running(app), client_of(app) as client:
        yield client


async def post(client: AsyncClient, path: str, body: Json, status: int = 200) -> Json:
    """Send a request, assert the status and return the JSON."""
    response = await client.post(path, json=body)
    assert response.status_code == status, response.text
    answer: Json = response.json()
    return answer


@pytest.mark.parametrize("name", ["a.npy", "layers/turned.npy", "inside.npy"])
@pytest.mark.parametrize("strategy", ["loops", "python", "broadcast", "torch", "numpy"])
async def test_a_local_strategy_takes_a_reference(
    client: AsyncClient, name: str, strategy: str
) -> None:
    """A file in the folder is an operand, beside one that is sent, in whatever order it lies."""
    body = {"a": {"ref": name}, "b": [[1], [2], [3]], "strategy": strategy}
    answer = await post(client, "/matmul", body)
    assert answer["result"]["data"] == [[8.0], [26.0]]


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "bfloat16"])
async def test_every_dtype_of_npy(client: AsyncClient, data: Path, dtype: str) -> None:
    """The operand's dtype is that of the file."""
    np.save(data / "x.npy", np.ones((2, 2), DTYPES[dtype].numpy))
    body = {"operands": [{"ref": "x.npy"}], "to": [2, 2], "output": "base64"}
    answer = await post(client, "/broadcast", body)
    assert answer["result"]["dtype"] == dtype


@pytest.mark.parametrize(
    "name",
    [
        "../secret.npy",
        "layers/../../secret.npy",
        "layers/../a.npy",
        "/etc/passwd",
        "//a.npy",
        "./a.npy",
        "up/secret.npy",
        "out.npy",
        ".hidden.npy",
        "layers\\turned.npy",
        "..\\secret.npy",
        "C:\\secret.npy",
        "a.npy\0",
        "a.npy\n",
        "a.npy/",
        "%2e%2e/secret.npy",
        "file:///etc/passwd",
        "http://127.0.0.1/a.npy",
        "~/a.npy",
        "a.npy ",
        "\uff41.npy",
        "a" * 256,
        "a/" * 100 + "a.npy",
        "",
        "no-such.npy",
        "no-such/a.npy",
        "pipe.npy",
        "empty.npy",
        "text.npy",
        "short.npy",
        "words.txt",
        "layers",
        "big-endian.npy",
        7,
        ["a.npy"],
    ],
)
async def test_no_other_file_can_be_reached(client: AsyncClient, name: object) -> None:
    """Links, steps upwards, absolute names, other systems' separators, files of other kinds."""
    problem = await post(client, "/norm", {"x": {"ref": name}}, 422)
    assert problem["code"] == "array-unavailable"
    assert problem["errors"][0]["pointer"] == "/x/ref"
    assert "[7.0" not in str(problem)
    assert "/tmp" not in str(problem)


@pytest.mark.parametrize("name", ["/etc/passwd", ".hidden.npy", "a//b.npy", "-a.npy"])
async def test_the_rule_of_names(client: AsyncClient, name: str) -> None:
    """An error states the rule that such a name breaks."""
    problem = await post(client, "/norm", {"x": {"ref": name}}, 422)
    assert "it begins, as after each '/', with a letter, a digit or '_'" in problem["detail"]


async def test_hints(client: AsyncClient) -> None:
    """A name that is nearly right is corrected; a link out of the folder lists nothing."""
    problem = await post(client, "/norm", {"x": {"ref": "layers/turnt.npy"}}, 422)
    assert problem["hint"] == "did you mean 'turned.npy'?"
    problem = await post(client, "/norm", {"x": {"ref": "up/secre.npy"}}, 422)
    assert "secret" not in problem["hint"]
    problem = await post(client, "/norm", {"x": {"ref": "big-endian.npy"}}, 422)
    assert "little-endian" in problem["hint"]


@pytest.mark.parametrize(
    ("operand", "pointer"),
    [
        ({"ref": "a.npy", "data": [1]}, "/x/data"),
        ({"ref": "a.npy", "b64": ""}, "/x/b64"),
        ({"ref": "a.npy", "dtype": "float64"}, "/x/dtype"),
        ({"ref": "a.npy", "shape": [3, 2]}, "/x/shape"),
    ],
)
async def test_what_stands_beside_a_reference(
    client: AsyncClient, operand: Json, pointer: str
) -> None:
    """Other data are refused, and so is a shape or dtype that is not the file's own."""
    problem = await post(client, "/norm", {"x": operand}, 422)
    assert problem["code"] == "invalid-field"
    assert problem["errors"][0]["pointer"] == pointer


async def test_stored_arrays_are_not_converted(client: AsyncClient) -> None:
    """Operands of two dtypes are promoted, which a file is not; a plain array follows it."""
    other = {"dtype": "float64", "data": [[1.0], [2.0], [3.0]]}
    problem = await post(client, "/matmul", {"a": {"ref": "a.npy"}, "b": other}, 422)
    assert problem["code"] == "invalid-field"
    assert problem["hint"] == 'send the other operands with "dtype": "float32"'


async def test_a_file_over_the_limit_is_planned_and_not_read(
    client: AsyncClient, data: Path
) -> None:
    """A sparse file of a terabyte: its header is all that is read."""
    header = np.lib.format.magic(1, 0)
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (524288, 524288), }"
    text += b" " * (64 - (10 + len(text) + 1) % 64) + b"\n"
    with (data / "huge.npy").open("wb") as file:
        file.write(header + len(text).to_bytes(2, "little") + text)
        file.truncate(10 + len(text) + 4 * 2**38)
    for path, status in (("/norm/plan", 200), ("/norm", 422)):
        answer = await post(client, path, {"x": {"ref": "huge.npy"}}, status)
        assert "SERVICE_MAX_ELEMENTS" in answer["reason" if status == 200 else "detail"]
    report = await post(client, "/norm/compare", {"x": {"ref": "huge.npy"}})
    assert all(row["skipped"] for row in report["rows"])


async def test_a_race_on_references(client: AsyncClient) -> None:
    """The file is read once it is known that something will run on it."""
    body = {"x": {"ref": "a.npy"}, "repeat": 1, "strategies": ["loops", "torch"]}
    report = await post(client, "/norm/compare", body)
    assert all(row["agrees"] for row in report["rows"])
    problem = await post(client, "/norm/compare", body | {"output": {"store": "b.npy"}}, 422)
    assert problem["errors"][0]["pointer"] == "/output"


async def test_a_result_is_kept_and_posted_back(client: AsyncClient, data: Path) -> None:
    """The result in the response is an operand of the next call."""
    body = {"a": {"ref": "a.npy"}, "b": [[1], [2], [3]], "output": {"store": "layers/c.npy"}}
    answer = await post(client, "/matmul", body)
    assert answer["result"] == {"shape": [2, 1], "dtype": "float32", "ref": "layers/c.npy"}
    assert np.load(data / "layers" / "c.npy").tolist() == [[8.0], [26.0]]
    again = await post(client, "/norm", {"x": answer["result"], "ord": 1})
    assert again["result"]["data"] == 34.0
    assert sorted(os.listdir(data / "layers")) == ["c.npy", "turned.npy"]


async def test_a_chain_on_references(client: AsyncClient, data: Path) -> None:
    """Operands may be files, and one result is kept; neither several, nor what npy cannot hold."""
    steps: list[Json] = [
        {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": [[1], [2], [3]]},
        {"name": "y", "operation": "norm", "x": {"step": "h"}, "ord": 1},
    ]
    body: Json = {"operands": [{"ref": "a.npy"}], "steps": steps, "output": {"store": "y.npy"}}
    answer = await post(client, "/chain", body)
    assert answer["results"] == {"y": {"shape": [], "dtype": "float32", "ref": "y.npy"}}
    assert np.load(data / "y.npy") == 34.0
    several: Json = {"results": ["y", "h"], "output": {"store": "z.npy"}}
    problem = await post(client, "/chain", body | several, 422)
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("invalid-field", "/output/store")
    half: Json = {"operands": [{"dtype": "bfloat16", "data": [3.0]}], "output": {"store": "n.npy"}}
    half["steps"] = [{"name": "y", "operation": "norm", "x": {"operand": 0}}]
    assert (await post(client, "/chain", half, 422))["code"] == "dtype-unsupported"


@pytest.mark.parametrize("text", [b'{"ref": 1}', b'{"store": 1}', b'"\\u0073"', b"[1]"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_names_are_seen_in_any_buffer(kind: Callable[[bytes], Body], text: bytes) -> None:
    """In a copy of the body, and in the memory that it was received into."""
    assert names_array(kind(text)) == (text != b"[1]")


@pytest.mark.parametrize("key", ["store", "\\u0073tore"])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_result_is_kept_on_a_thread(
    client: AsyncClient, data: Path, key: str, packed: bool
) -> None:
    """A worker process could be killed while it writes."""
    text = b'{"x": [3.0, 4.0], "output": {"%b": "new.npy"}}' % key.encode()
    headers = {"Content-Type": "application/json"}
    if packed:
        text, headers["Content-Encoding"] = gzip.compress(text), "gzip"
    answer = await client.post("/norm", content=text, headers=headers)
    assert answer.json()["timing"]["executor"] == "thread"
    assert np.load(data / "new.npy").tolist() == 5.0


async def test_a_name_that_is_taken(client: AsyncClient, data: Path) -> None:
    """It is kept, unless the request says that it may be replaced."""
    body: Json = {"x": [3.0, 4.0], "output": {"store": "a.npy"}}
    problem = await post(client, "/norm", body, 422)
    assert problem["code"] == "array-exists"
    assert np.load(data / "a.npy").tolist() == A.tolist()
    body["output"] = {"store": "a.npy", "overwrite": True}
    await post(client, "/norm", body)
    assert np.load(data / "a.npy").tolist() == 5.0
    # A link is replaced itself, not what it points to.
    body["output"] = {"store": "out.npy", "overwrite": True}
    await post(client, "/norm", body)
    assert np.load(data.parent / "secret.npy").tolist() == SECRET.tolist()


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ({"store": "../b.npy"}, "array-unavailable"),
        ({"store": "up/b.npy"}, "array-unavailable"),
        ({"store": "no-such/b.npy"}, "array-unavailable"),
        ({"store": ".b.npy"}, "array-unavailable"),
        ({"store": "b.zarr"}, "array-unavailable"),
        ({"store": "b"}, "array-unavailable"),
        ({"store": "out.npy"}, "array-exists"),
        ({}, "array-unavailable"),
        ({"store": "b.npy", "overwrite": 1}, "invalid-field"),
        ({"store": "b.npy", "overwriet": True}, "unknown-field"),
    ],
)
async def test_outputs_that_are_refused(
    client: AsyncClient, data: Path, output: Json, code: str
) -> None:
    """Nothing is written outside the folder, nor over what is there."""
    before = sorted(os.listdir(data)), sorted(os.listdir(data.parent))
    problem = await post(client, "/norm", {"x": [3.0, 4.0], "output": output}, 422)
    assert problem["code"] == code
    assert (sorted(os.listdir(data)), sorted(os.listdir(data.parent))) == before


async def test_a_dtype_that_npy_has_not(client: AsyncClient) -> None:
    """It is said before anything is computed."""
    body = {"x": {"dtype": "bfloat16", "data": [3.0]}, "output": {"store": "b.npy"}}
    assert (await post(client, "/norm", body, 422))["code"] == "dtype-unsupported"


async def test_without_a_folder(client: AsyncClient, serve: Serve) -> None:
    """References and stores say which setting they need."""
    async with serve() as bare:
        for body in ({"x": {"ref": "a.npy"}}, {"x": [1.0], "output": {"store": "a.npy"}}):
            problem = await post(bare, "/norm", body, 422)
            assert problem["code"] == "array-unavailable"
            assert "SERVICE_DATA" in problem["detail"]


async def test_no_cluster_is_needed_to_say_so(client: AsyncClient) -> None:
    """Without the setting, dask is there, and not available, in the list, plans and runs."""
    answer = (await client.get("/strategies")).json()
    dask = next(each for each in answer[0]["strategies"] if each["name"] == "dask")
    reason = "needs a Dask cluster, which SERVICE_DASK_SCHEDULER would name"
    assert (dask["available"], dask["reason"]) == (False, reason)
    body = {"a": [[1.0]], "b": [[1.0]], "strategy": "dask"}
    plan = await post(client, "/matmul/plan", body)
    assert plan["reason"] == f"matmul strategy 'dask' {reason}"
    row = next(each for each in plan["strategies"] if each["strategy"] == "dask")
    assert (row["available"], row["reason"]) == (False, reason)
    assert (await post(client, "/matmul", body, 422))["code"] == "strategy-unsuitable"


@needs("zarr")
async def test_zarr(client: AsyncClient, data: Path) -> None:
    """A zarr folder is an operand; one that is none, or has other elements, is not."""
    import zarr

    array = zarr.create_array(data / "z.zarr", shape=(2, 3), chunks=(1, 2), dtype="f4")
    array[...] = A
    zarr.create_array(data / "dates.zarr", shape=(2,), dtype="datetime64[s]")
    (data / "none.zarr").mkdir()
    answer = await post(client, "/norm", {"x": {"ref": "z.zarr"}, "ord": 1, "kind": "vector"})
    assert answer["result"]["data"] == 15.0
    for name in ("dates.zarr", "none.zarr"):
        problem = await post(client, "/norm", {"x": {"ref": name}}, 422)
        assert problem["code"] == "array-unavailable"


@needs("zarr")
async def test_a_zarr_folder_that_breaks(client: AsyncClient, data: Path) -> None:
    """A folder whose parts cannot be read gets its own problem."""
    import zarr

    array = zarr.create_array(data / "z.zarr", shape=(2, 3), chunks=(2, 3), dtype="f4")
    array[...] = A
    (data / "z.zarr" / "c" / "0" / "0").write_bytes(b"no part")
    problem = await post(client, "/norm", {"x": {"ref": "z.zarr"}}, 422)
    assert "zarr package does not read it" in problem["detail"]
