"""The Python client against the app: every operation, dtype and kind of operand, there and back."""

import hashlib
import math
from collections.abc import Callable
from html import escape
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import torch

from service.core.dtypes import DTYPES
from service.errors import ServiceError
from service.http import chain_schemas, schemas
from tensor_service_client import (
    AsyncClient,
    Call,
    InvalidArgumentError,
    ProblemError,
    Shape,
    answers,
    broadcast,
    catalog,
    einsum,
    matmul,
    norm,
    plans,
    problems,
    races,
)
from tensor_service_client.errors import Place
from tests.rigs.apps import BASE
from tests.rigs.request_bodies import IN_NUMPY, bits_of, tensor_of

SHAPES = [(), (3,), (2, 3), (0,), (2, 0, 3)]


@pytest.fixture
def api(client: httpx.AsyncClient) -> AsyncClient:
    """A client of the app."""
    return AsyncClient(BASE, http=client)


def operands(kind: str, *shapes: tuple[int, ...]) -> list[Any]:
    """Return random float64 operands of a kind."""
    random = np.random.default_rng(1)
    found: list[Any] = [random.standard_normal(shape) for shape in shapes]
    makers: dict[str, Callable[[Any], Any]] = {
        "numpy": lambda x: x,
        "torch": torch.from_numpy,
        "list": lambda x: x.tolist(),
    }
    return [makers[kind](x) for x in found]


@pytest.mark.parametrize("kind", ["numpy", "torch", "list"])
async def test_every_operation_answers_in_the_kind_that_went_in(
    api: AsyncClient, kind: str
) -> None:
    """Arrays for arrays, tensors for tensors, lists for lists: numpy's own result each time."""
    a, b = operands(kind, (2, 3), (3, 4))
    dtype: Any = {"dtype": "float64"} if kind == "list" else {}
    expected = np.asarray(a) @ np.asarray(b)
    found = [
        (await api.matmul(a, b, **dtype), expected),
        (await api.einsum("ij,jk->ki", a, b, optimize="greedy", **dtype), expected.T),
        (await api.norm(a, ord=math.inf, dim=[0, 1], keepdim=True, **dtype), None),
        (await api.broadcast(a, a, op="mul", **dtype), np.asarray(a) ** 2),
    ]
    inf_norm = np.linalg.norm(np.asarray(a), np.inf, (0, 1), keepdims=True)
    for answer, wanted in found:
        assert type(answer.result) is type(a)
        np.testing.assert_allclose(
            np.asarray(answer.result), inf_norm if wanted is None else wanted
        )
        assert answer.dtype == "float64"
        assert answer.shape == np.shape(answer.result)


@pytest.mark.parametrize("kind", ["numpy", "torch", "list"])
async def test_gradients_are_of_the_kind_that_went_in(api: AsyncClient, kind: str) -> None:
    """By names of matmul or positions of einsum, with an upstream gradient or without one."""
    a, b, upstream = operands(kind, (2, 3), (3, 4), (2, 4))
    dtype: Any = {"dtype": "float64"} if kind == "list" else {}
    left, right, given = (np.asarray(x) for x in (a, b, upstream))
    product = await api.gradients(matmul(a, b, **dtype), upstream)
    contraction = await api.gradients(einsum("ij,jk->ik", a, b, **dtype))
    for found, wanted in (
        (product["a"], given @ right.T),
        (product["b"], left.T @ given),
        (contraction[0], np.ones((2, 4)) @ right.T),
        (contraction[1], left.T @ np.ones((2, 4))),
    ):
        assert type(found.result) is type(a)
        np.testing.assert_allclose(np.asarray(found.result), wanted)
        assert (found.dtype, found.shape, found.strategy) == ("float64", wanted.shape, "torch")
    assert product.equation == contraction.equation == "ij,jk->ik"
    assert contraction[0].reproduce == 'torch.einsum("ik,jk->ij", upstream, x1)'
    assert product["b"].explanation.endswith("gives [jk]: a.mT @ upstream.")
    assert product.envelope["op"] == "matmul"


async def test_complex_gradients_are_sent_in_json(api: AsyncClient) -> None:
    """The format of bytes has no complex128: the upstream gradient goes beside the operands."""
    x = np.array([1 + 2j, 3 - 1j])
    found = await api.gradients(einsum("i,i->i", x, x), np.array([1j, 2]))
    np.testing.assert_allclose(found[0].result, np.array([1j, 2]) * x.conj())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
async def test_tensors_come_back_bit_for_bit(
    api: AsyncClient, dtype: str, shape: tuple[int, ...]
) -> None:
    """Every dtype, empty shapes and rank 0 too, whatever the bits are."""
    x = tensor_of(dtype, shape)
    answer = await api.broadcast(x, to=shape)
    assert answer.result.dtype == x.dtype
    assert answer.result.shape == x.shape
    assert bits_of(answer.result) == bits_of(x)
    answer.result.zero_()  # it can be written to, and warns of nothing


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", IN_NUMPY)
async def test_arrays_come_back_bit_for_bit(
    api: AsyncClient, dtype: str, shape: tuple[int, ...]
) -> None:
    """Every dtype; big-endian arrays come back in the byte order of the host."""
    x = tensor_of(dtype, shape).numpy()
    for sent in (x, x.astype(x.dtype.newbyteorder(">"))):
        answer = await api.broadcast(sent, to=shape)
        assert answer.result.dtype == x.dtype
        assert answer.result.shape == x.shape
        assert answer.result.tobytes() == x.tobytes()
        answer.result.fill(0)


async def test_memory_in_any_order_is_sent_as_it_is_read(api: AsyncClient) -> None:
    """Transposed, reversed, stretched, conjugated, on a tape."""
    x = np.arange(24.0).reshape(4, 6)
    for each in (x.T, x[::-2, 1::2], x[:1, 2:3], np.broadcast_to(x[0], (3, 6))):
        answer = await api.broadcast(each, to=each.shape)
        np.testing.assert_array_equal(answer.result, each)
    t = torch.from_numpy(x)
    z = torch.complex(t, t + 1)
    one = torch.arange(4.0)[::2][:1]
    parts = (z.conj(), z.conj().imag, z[0, 0].imag, z[:1, :1].real)
    for tensor in (t.T, t[0].expand(3, 6), one, t.clone().requires_grad_(), *parts):
        found = await api.broadcast(tensor, to=tensor.shape)
        assert torch.equal(found.result, tensor.detach())


async def test_numpy_gets_bfloat16_as_float32(api: AsyncClient) -> None:
    """float32 holds each value of bfloat16; the response states the dtype that was computed."""
    answer = await api.broadcast(
        np.array([1, -3], np.int8), [0.1, math.inf], op="mul", dtype="bfloat16"
    )
    assert answer.dtype == "bfloat16"
    assert answer.result.dtype == np.float32
    expected = torch.tensor([0.1, -math.inf], dtype=torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(answer.result, expected)


async def test_the_first_operand_decides_the_kind(api: AsyncClient) -> None:
    """Others may be of any kind, numbers too; numpy's scalars are arrays of rank 0."""
    x, t = np.full((2,), 3.0, np.float32), torch.full((2,), 6.0)
    mixed = await api.broadcast(x, t, 2, op="mul")
    assert isinstance(mixed.result, np.ndarray)
    assert mixed.result.tolist() == [36.0, 36.0]
    listed: Any = await api.broadcast([2.0, 2.0], t, op="mul")
    assert listed.result == [12.0, 12.0]
    number: Any = np.float64(2)
    scalar: Any = await api.broadcast(number, t, op="mul")
    assert isinstance(scalar.result, np.ndarray)
    assert scalar.dtype == "float64"
    table: Any = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    product: Any = await api.matmul(table, table.to_numpy(), dtype=torch.float32)
    assert isinstance(product.result, np.ndarray)
    assert product.result.tolist() == [[7, 15], [10, 22]]
    assert product.dtype == "int64"


async def test_lists_hold_what_json_does_not(api: AsyncClient) -> None:
    """Infinities, NaN and long integers are numbers on both sides; complex ones are pairs."""
    answer = await api.broadcast([math.inf, -math.inf, math.nan, 1.0], (2, 2, 2, 2), op="mul")
    assert answer.result == [math.inf, -math.inf, pytest.approx(math.nan, nan_ok=True), 2.0]
    assert (await api.broadcast([2**62], 1, op="add", dtype="int64")).result == [2**62 + 1]
    assert (await api.broadcast(1, 2, op="add")).result == 3.0
    assert (await api.broadcast([[1, 2]], to=[1], dtype="complex64")).result == [[1.0, 2.0]]


async def test_an_answer_tells_how_it_was_computed(api: AsyncClient) -> None:
    """Strategy, device, timing, warnings and request id, of arrays and of lists."""
    for a in ([[16777217]], np.ones((1, 1), np.float32)):
        answer: Any = await api.matmul(a, [[16777217]], strategy="loops", device="cpu")
        assert (answer.strategy, answer.device) == ("loops", "cpu")
        phases = [ms for name, ms in answer.timing.items() if name.endswith("_ms")]
        assert sum(phases) == pytest.approx(2 * answer.timing["total_ms"])
        assert "16777217" in answer.warnings[0]
        assert answer.request_id == answer.envelope["request_id"] != ""
    explained = await api.broadcast(np.ones((2, 1)), np.ones(3), op="add", views=["...", "None,:"])
    assert explained.envelope["broadcast"]["shape"] == [2, 3]


@pytest.mark.parametrize("kind", ["numpy", "list"])
async def test_arithmetic_is_asked_for(api: AsyncClient, kind: str) -> None:
    """By every method; the answer repeats it."""
    a, b = operands(kind, (2, 3), (3, 4))
    asked: Any = {"precision": "ieee", "deterministic": True}
    call = matmul(a, b, **asked)
    chain = api.chain(**asked)
    chain.matmul(a, b)
    report = await api.compare(call, strategies=["torch"], repeat=1)
    found = [
        (await api.matmul(a, b, **asked)).envelope,
        (await api.summarize(call)).envelope,
        (await api.gradients(call)).envelope,
        (await chain.run()).envelope,
        report.rows[0],
    ]
    assert [(each.precision, each.deterministic) for each in found] == [("ieee", True)] * 5
    assert (await api.matmul(a, b)).envelope.precision is None
    assert (await api.plan(call)).accepted
    ones = Shape((2, 2)), Shape((2, 2))
    assert "was asked for tf32" in repr(await api.plan(matmul(*ones, precision="tf32")))


async def test_a_race_of_precisions(api: AsyncClient) -> None:
    """Each has rows of its own, which name it."""
    x = np.ones((2, 2), np.float32)
    report = await api.compare(matmul(x, x), strategies=["torch"], precisions=["ieee", "tf32"])
    assert [row.precision for row in report.rows] == ["ieee", "tf32"]
    assert "\ntorch in ieee " in repr(report)
    assert "skipped torch in tf32: has no tf32 on cpu" in repr(report)


async def test_a_block_too_long_for_a_header_is_dropped(api: AsyncClient) -> None:
    """Its name is said; what every answer has is there."""
    x = np.ones((1,) * 16, np.float32)
    answer = await api.broadcast(x, *[x] * 60, op="add")
    assert answer.envelope["dropped"] == ["broadcast"]
    assert answer.timing["total_ms"] > 0
    assert answer.warnings == []


async def test_a_summary_has_the_digest_of_the_result(api: AsyncClient) -> None:
    """The result stays where it is."""
    call = matmul(np.eye(3), np.arange(9.0).reshape(3, 3))
    answer = await api.summarize(call)
    assert answer.shape == (3, 3)
    assert answer.result["max"] == 8.0
    result = (await api.run(call)).result
    assert answer.result["sha256"] == hashlib.sha256(result.tobytes()).hexdigest()


async def test_a_plan_sends_no_data(api: AsyncClient) -> None:
    """Shapes alone, or arrays larger than any body may be; lists go as they are."""
    plan = await api.plan(matmul(Shape((1000, 10)), Shape((10, 7), "float64")))
    assert plan["result"]["shape"] == [1000, 7]
    assert plan["result"]["dtype"] == "float64"
    huge = np.broadcast_to(np.float32(0), (2**20, 2**20))
    assert not (await api.plan(norm(huge)))["accepted"]
    traced = await api.plan(einsum("ij,jk,kl->il", torch.ones(2, 3), [[1.0]] * 3, np.ones((1, 2))))
    assert len(traced["path"]) == 2


async def test_a_shape_is_for_plans_alone(api: AsyncClient) -> None:
    """It has no data to compute with."""
    with pytest.raises(TypeError, match="can be planned"):
        await api.run(norm(Shape((3,))))


async def test_a_race_hands_on_its_rows(api: AsyncClient) -> None:
    """One for each strategy, as it is finished; the report has them all, with speed-ups."""
    call = norm(np.arange(4.0), ord=2)
    race = api.race(call, strategies=["python", "torch"], repeat=3, rtol=1e-6)
    assert [row["strategy"] async for row in race] == ["python", "torch"]
    assert [row["runs"] for row in race.report["rows"]] == [3, 3]
    assert race.report["rows"][0]["speedup"] == 1.0
    assert (await api.compare(call, strategies=["torch"]))["dtype"] == "float64"
    chain = api.chain()
    chain.norm(chain.matmul(np.eye(2), [[1, 2], [3, 4]], strategy="torch"), ord="fro")
    report: Any = await api.compare(chain.call(), strategies=["loops", "numpy"])
    assert [(row["strategy"], row["agrees"]) for row in report["rows"]] == [
        ("loops", True),
        ("numpy", True),
    ]


async def test_a_problem_in_a_race_is_raised(api: AsyncClient) -> None:
    """Also after the stream has begun: singular values of NaN do not converge."""
    call = norm(np.full((2, 2), math.nan), ord="nuc")
    with pytest.raises(ProblemError) as caught:
        await api.compare(call)
    assert caught.value.status >= 400
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("call", "kind", "status"),
    [
        (matmul(np.ones((2, 3)), np.ones((2, 3))), problems.ShapeMismatchError, 422),
        (matmul([[1, 2], [3]], [[1]]), problems.RaggedArrayError, 422),
        (einsum("ij>ji", torch.ones(2, 2)), problems.InvalidEquationError, 422),
        (norm(np.ones(3), strategy="lops"), problems.UnknownStrategyError, 422),
        (norm(np.ones(3), device="cuda:9"), problems.DeviceUnavailableError, 422),
        (
            broadcast(np.array([200], np.uint8), np.uint8(100), op="add"),
            problems.IntegerOverflowError,
            422,
        ),
    ],
    ids=lambda each: getattr(each, "code", None),
)
async def test_a_problem_has_the_class_of_its_code(
    api: AsyncClient, call: Call[Any], kind: type[ProblemError], status: int
) -> None:
    """The fields of the document are its attributes."""
    with pytest.raises(kind) as caught:
        await api.run(call)
    error = caught.value
    assert (error.status, error.code) == (status, kind.code)
    assert error.title
    assert error.detail in str(error)
    assert error.request_id
    assert error.instance is not None
    assert error.instance.startswith("urn:uuid:")
    assert error.__class__.__name__ == kind.__name__


def tree(root: type[Exception]) -> dict[str, tuple[str | None, str]]:
    """Return the subclasses of a class by name, each with its code and the name of its base."""
    found: dict[str, tuple[str | None, str]] = {}
    for kind in root.__subclasses__():
        if kind.__module__.startswith(("service.", "tensor_service_client.")):
            found |= {kind.__name__: (vars(kind).get("code"), root.__name__)} | tree(kind)
    return found


def test_problems_have_the_classes_of_the_service() -> None:
    """The client restates the tree of errors; here the two cannot drift apart."""
    ours, theirs = tree(ProblemError), tree(ServiceError)
    assert ours == {
        name: (code, {"ServiceError": "ProblemError"}.get(base, base))
        for name, (code, base) in theirs.items()
    }


async def test_a_problem_names_places_and_what_would_work(api: AsyncClient) -> None:
    """The text of the error has places and hint."""
    with pytest.raises(problems.ShapeMismatchError) as caught:
        await api.matmul([[1, 2, 3]], [[1, 2, 3]])
    assert caught.value.places == (Place("/b", "axis 0 has size 1, expected 3"),)
    assert caught.value.hint is not None
    assert caught.value.hint in str(caught.value)
    assert "at /b: axis 0" in str(caught.value)


async def test_documents_of_the_service(api: AsyncClient) -> None:
    """The strategies, and any other."""
    operations = await api.strategies()
    assert [op["name"] for op in operations] == ["matmul", "einsum", "norm", "broadcast"]
    assert operations[0]["strategies"][0]["name"] == "loops"
    assert "cpu" in [device.name for device in (await api.devices()).devices]
    assert "name" in (await api.get("/limits"))[0]
    with pytest.raises(ProblemError) as caught:
        await api.get("/nothing")
    assert (caught.value.status, caught.value.code) == (404, "not-found")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (answers.Timing, schemas.Timing),
        (answers.Summary, schemas.Summary),
        (answers.StepRow, chain_schemas.ChainRow),
        (plans.Plan, schemas.PlanAnswer),
        (plans.PlannedResult, schemas.PlannedResult),
        (plans.PlannedWork, schemas.PlannedWork),
        (plans.PlannedStrategy, schemas.PlannedStrategy),
        (races.Row, schemas.CompareRow),
        (races.Report, schemas.CompareAnswer),
        (catalog.Strategy, schemas.StrategyInfo),
        (catalog.Operation, schemas.OperationInfo),
        (catalog.Device, schemas.DeviceInfo),
        (catalog.Devices, schemas.DeviceList),
    ],
)
def test_documents_have_the_fields_that_the_service_gives(ours: Any, theirs: Any) -> None:
    """The client restates their types; here they cannot drift apart."""
    assert set(ours.__annotations__) == set(theirs.model_fields)


async def test_everything_is_shown_as_a_table(api: AsyncClient) -> None:
    """In 100 columns, in HTML, and as a dictionary, whatever the service sends."""
    a, b = np.ones((5, 784), np.float32), np.ones((784, 10), np.float32)
    chain = api.chain()
    chain.norm(chain.matmul(a, b))
    ways = ["broadcast", "torch", "triton"]
    race = api.race(matmul(a, b), strategies=ways, repeat=2)
    assert "without a report" in repr(race)
    rows = [row async for row in race]
    report = await api.compare(matmul(a, b), strategies=ways, repeat=2, progress=rows.append)
    assert len(rows) == len(ways) * 2
    found: list[tuple[Any, str]] = [
        (race, "broadcast"),
        (report, "broadcast"),
        (await api.compare(chain.call(), strategies=["torch"], repeat=1), "torch"),
        (await api.plan(matmul(a, b)), "elementwise"),
        (await api.plan(einsum("ij,jk,kl->il", *[Shape((9, 9))] * 3)), "0 and 1"),
        (await api.plan(matmul(Shape((10**6, 1)), Shape((1, 10**6)))), "NOT accepted"),
        (await api.plan(chain.call()), "norm1"),
        (await chain.run(), "matmul0"),
        (await api.gradients(matmul(a, b)), "gradients of matmul"),
        (await api.matmul(a, b), "5×10 float32 by torch on cpu"),
        (await api.summarize(matmul(a, b)), "sha256"),
        (await api.strategies(), "Three loops"),
        (await api.devices(), "cpu"),
    ]
    for each, word in found:
        text = repr(each)
        assert word in text
        assert max(map(len, text.splitlines())) <= 100
        assert escape(word) in each._repr_html_()
        assert type(each.to_dict()) is dict


@pytest.mark.parametrize("kind", ["numpy", "torch", "list"])
async def test_a_chain(api: AsyncClient, kind: str) -> None:
    """One request, results in the order that was asked for; an array is sent once."""
    x, w = operands(kind, (2, 3), (3, 3))
    dtype: Any = {"dtype": "float64"} if kind == "list" else {}
    chain = api.chain(**dtype)
    hidden = chain.matmul(x, w)
    positive = chain.broadcast(hidden, 0, op="maximum")
    product = chain.einsum("ij,jk->ik", positive, w, strategy="pairwise")
    size = chain.norm(product, ord=math.inf, keepdim=True, kind="vector")
    expected = np.maximum(np.asarray(x) @ np.asarray(w), 0) @ np.asarray(w)
    answer = await chain.run(product, size)
    assert answer.result is answer.results[0]
    assert type(answer.result) is type(x)
    np.testing.assert_allclose(np.asarray(answer.results[0]), expected)
    np.testing.assert_allclose(np.asarray(answer.results[1]), [[np.abs(expected).max()]])
    assert [step["strategy"] for step in answer.steps][2] == "pairwise"
    assert answer.timing["total_ms"] > 0
    assert answer.warnings == []
    assert len(chain.call().operands) == 2
    np.testing.assert_allclose(np.asarray((await chain.run()).result), [[np.abs(expected).max()]])


@pytest.mark.parametrize("dtype", ["bfloat16", "complex128", "int64", "bool"])
async def test_a_chain_in_each_format(api: AsyncClient, dtype: str) -> None:
    """Dtypes that a format lacks come back as they are."""
    x = torch.ones(2, 2, dtype=DTYPES[dtype].torch)
    chain = api.chain()
    same = chain.broadcast(x, to=[2, 2])
    answer = await chain.run(same)
    assert answer.result.dtype == x.dtype
    assert torch.equal(answer.result, x)


async def test_a_step_of_another_chain(api: AsyncClient) -> None:
    """It is no operand and no result."""
    other = api.chain().norm([1.0])
    for use in (api.chain().norm, api.chain().run):
        with pytest.raises(InvalidArgumentError, match="'norm0' is a step of another chain"):
            use(other)


async def test_a_chain_is_planned(api: AsyncClient) -> None:
    """From shapes alone."""
    chain = api.chain()
    chain.matmul(Shape((1000, 10)), Shape((10, 5)))
    plan: Any = await api.plan(chain.call())
    assert plan["results"] == {
        "matmul0": {"shape": [1000, 5], "dtype": "float32", "elements": 5000, "bytes": 20_000}
    }
