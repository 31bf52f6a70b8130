"""Limits of size, time and load: calls over a limit are refused before any work."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from httpx import AsyncClient

from service.api.app import create_app
from service.core.call import Tensor
from service.core.dtypes import NUMBERS
from service.operations import REGISTRY
from service.operations.matmul.strategies import by_batch, native
from service.planning.cost_model import CostModel
from service.registry import Registry
from service.settings import Settings
from tests.rigs.apps import Serve, app_of, client_of, running
from tests.rigs.waiting import until

# A body this long is read by a thread of the pool, whatever the call is.
PADDING = b" " * 2**20


def one_strategy(compute: Callable[[Tensor, Tensor], Tensor]) -> Registry:
    """A registry of matmul alone, by `compute` alone."""
    op = replace(REGISTRY["matmul"], auto=("only",), _strategies={})
    op.strategy("only", adapt=native, work=by_batch, dtypes=NUMBERS)(compute)
    return Registry(op)


def body(a: Any, b: Any, **fields: Any) -> bytes:
    """Return a product that is computed by a thread of the pool."""
    return json.dumps({"a": a, "b": b, **fields}).encode() + PADDING


async def problem_of(client: AsyncClient, op: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Send a call that gets a 422 and return the problem."""
    response = await client.post(f"/{op}", json=fields)
    assert response.status_code == 422, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_product_of_vectors_that_fills_the_memory_is_refused(client: AsyncClient) -> None:
    """Ten thousand million elements are counted, and not allocated."""
    operands = [[1] * 100] * 5
    fields = {"equation": "a,b,c,d,e->abcde", "operands": operands}
    problem = await problem_of(client, "einsum", fields)
    assert problem["code"] == "limit-exceeded"
    assert "10000000000" in problem["detail"]
    assert "SERVICE_MAX_ELEMENTS" in problem["detail"]


async def test_an_intermediate_that_fills_the_memory_is_refused(client: AsyncClient) -> None:
    """The result is a number; its strategy would hold all products at once. Others do not."""
    fields = {"equation": "a,b,c,d,e->", "operands": [[1] * 100] * 5, "strategy": "broadcast"}
    problem = await problem_of(client, "einsum", fields)
    assert problem["code"] == "limit-exceeded"
    assert "intermediate" in problem["detail"]
    await assert_admitted(client, "einsum", fields, problem["hint"])


async def test_loops_over_a_thousand_cubed_are_refused_with_their_time(client: AsyncClient) -> None:
    """The problem has the estimate, and the strategies in its hint finish in time."""
    zeros = b64encode(bytes(4_000_000)).decode()
    tensor = {"shape": [1000, 1000], "dtype": "float32", "b64": zeros}
    fields = {"a": tensor, "b": tensor, "strategy": "loops", "output": "none"}
    problem = await problem_of(client, "matmul", fields)
    assert problem["code"] == "work-exceeded"
    assert "1000000000 multiply-adds" in problem["detail"]
    assert " on cpu for " in problem["detail"]
    assert "SERVICE_DEADLINE_MS" in problem["detail"]
    assert "torch" in problem["hint"]
    again = await client.post("/matmul", json=fields | {"strategy": "torch"})
    assert again.status_code == 200, again.text


async def assert_admitted(client: AsyncClient, op: str, fields: dict[str, Any], hint: str) -> None:
    """Assert that every strategy that a hint names admits the call."""
    names = [each.split(" (")[0] for each in hint.partition(": ")[2].split(", ")]
    assert set(names) <= set(REGISTRY[op].strategies)
    for name in names:
        response = await client.post(f"/{op}", json=fields | {"strategy": name})
        assert response.status_code == 200, name


@pytest.mark.parametrize(
    ("settings", "op", "fields", "setting"),
    [
        ({"max_elements": 10}, "norm", {"x": [1] * 11}, "SERVICE_MAX_ELEMENTS"),
        ({"max_elements": 10}, "broadcast", {"operands": [1], "to": [11]}, "SERVICE_MAX_ELEMENTS"),
        ({"max_elements": 10}, "matmul", {"a": [[1]] * 4, "b": [[1] * 3]}, "SERVICE_MAX_ELEMENTS"),
        ({"max_bytes": 100}, "broadcast", {"operands": [1], "to": [25]}, "SERVICE_MAX_BYTES"),
        ({"max_rank": 2}, "norm", {"x": [[[1]]]}, "SERVICE_MAX_RANK"),
        ({"max_rank": 2}, "broadcast", {"operands": [1], "to": [1, 1, 1]}, "SERVICE_MAX_RANK"),
        (
            {"max_rank": 2},
            "einsum",
            {"equation": "i,j,k->ijk", "operands": [[1], [1], [1]]},
            "SERVICE_MAX_RANK",
        ),
    ],
)
async def test_a_size_over_its_limit_names_the_setting(
    serve: Serve, settings: dict[str, int], op: str, fields: dict[str, Any], setting: str
) -> None:
    """The detail has the value, the limit, and the variable that changes it."""
    async with serve(**settings) as client:
        problem = await problem_of(client, op, fields)
    assert problem["code"] == "limit-exceeded"
    assert f"({setting})" in problem["detail"]
    assert str(next(iter(settings.values()))) in problem["detail"]


async def test_a_size_at_its_limit_is_served(serve: Serve) -> None:
    """Limits are the greatest sizes that are served."""
    async with serve(max_elements=10, max_rank=2, max_nesting=3) as client:
        response = await client.post("/broadcast", json={"operands": [[[1] * 10]], "to": [1, 10]})
        assert response.status_code == 400  # three lists in an object are four deep
        response = await client.post("/norm", json={"x": [[1] * 10]})
        assert response.status_code == 200


async def test_nesting_over_its_limit_is_refused(serve: Serve) -> None:
    """Deeper documents are no documents here; flat data take any rank."""
    async with serve(max_nesting=3) as client:
        response = await client.post("/norm", json={"x": [[[1]]]})
        assert (response.status_code, response.json()["code"]) == (400, "nesting-too-deep")
        assert "SERVICE_MAX_NESTING" in response.json()["detail"]
        flat = {"x": {"shape": [1, 1, 1], "data": [1]}}
        assert (await client.post("/norm", json=flat)).status_code == 200


async def test_a_body_over_the_limit_is_refused_by_its_header(serve: Serve) -> None:
    """Before a byte of it is read."""
    async with serve(max_body_bytes=1000) as client:
        response = await client.post("/norm", content=b" " * 1001)
        assert (response.status_code, response.json()["code"]) == (413, "body-too-large")
        assert "SERVICE_MAX_BODY_BYTES" in response.json()["detail"]
        exact = b'{"x":[1]}'.ljust(1000)
        assert (await client.post("/norm", content=exact)).status_code == 200


async def test_a_body_over_the_limit_is_refused_while_it_is_read(serve: Serve) -> None:
    """Chunks without a length are counted, and the rest is not read."""
    sent = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b" " * 100

    async with serve(max_body_bytes=1000) as client:
        response = await client.post("/norm", content=chunks())
    assert (response.status_code, response.json()["code"]) == (413, "body-too-large")
    assert len(sent) < 15


async def test_chunks_make_a_body(client: AsyncClient) -> None:
    """A body without length is read as one with it."""

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b'{"x"', b":[3,", b"4]}"):
            yield chunk

    response = await client.post("/norm", content=chunks())
    assert response.json()["result"]["data"] == 5.0


async def test_a_body_shorter_than_it_says_is_refused(client: AsyncClient) -> None:
    """It has been cut on its way."""
    headers = {"Content-Length": "100"}
    response = await client.post("/norm", content=b'{"x":[1]}', headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "malformed-json")
    assert "9 of 100" in response.json()["detail"]


async def test_a_deadline_refuses_what_would_take_longer(client: AsyncClient) -> None:
    """The client's own deadline counts in admission; what is named in the hint meets it."""
    ones = [[1] * 25] * 25
    fields = {"a": ones, "b": ones, "strategy": "loops", "deadline_ms": 20}
    problem = await problem_of(client, "matmul", fields)
    assert problem["code"] == "work-exceeded"
    assert "20 ms" in problem["detail"]
    assert "torch" in problem["hint"]
    del fields["deadline_ms"]
    assert (await client.post("/matmul", json=fields)).status_code == 200


async def test_a_full_queue_refuses_calls(serve: Serve) -> None:
    """With one slot and no queue the second call gets a 503 with Retry-After; health is served."""
    entered, release = Event(), Event()

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Wait, where a is 7."""
        if a.reshape(-1)[0] == 7:
            entered.set()
            release.wait(10)
        return a @ b

    async with serve(one_strategy(only), slots=1, queue=0) as client:
        first = asyncio.create_task(client.post("/matmul", content=body([7], [1])))
        try:
            await asyncio.to_thread(entered.wait, 10)
            second = await client.post("/matmul", content=body([1], [1]))
            assert (second.status_code, second.json()["code"]) == (503, "overloaded")
            assert int(second.headers["Retry-After"]) >= 1
            assert "SERVICE_QUEUE" in second.json()["detail"]
            assert (await client.get("/health/live")).status_code == 200
        finally:
            release.set()
        assert (await first).json()["result"]["data"] == 7.0
        assert (await client.post("/matmul", content=body([1], [1]))).status_code == 200


async def test_a_call_waits_in_the_queue(serve: Serve) -> None:
    """With one slot and a queue the second call is served after the first, and says it waited."""
    entered, release = Event(), Event()

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Wait, where a is 7."""
        if a.reshape(-1)[0] == 7:
            entered.set()
            release.wait(10)
        return a @ b

    async with serve(one_strategy(only), slots=1, queue=1) as client:
        first = asyncio.create_task(client.post("/matmul", content=body([7], [1])))
        try:
            await asyncio.to_thread(entered.wait, 10)
            second = asyncio.create_task(client.post("/matmul", content=body([1], [1])))
            threads = app_of(client).state.service.threads
            await until(lambda: threads.active_calls == 2)
            await asyncio.sleep(0.05)
        finally:
            release.set()
        assert (await first).status_code == 200
        assert (await second).json()["timing"]["queue_ms"] > 10


async def test_the_deadline_passes(serve: Serve) -> None:
    """A call that is longer than its estimate gets a 504."""
    release = Event()

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Wait, where a is 7."""
        if a.reshape(-1)[0] == 7:
            release.wait(10)
        return a @ b

    async with serve(one_strategy(only), deadline_ms=100) as client:
        try:
            response = await client.post("/matmul", content=body([7], [1]))
        finally:
            release.set()
    assert (response.status_code, response.json()["code"]) == (504, "deadline-exceeded")
    assert "SERVICE_DEADLINE_MS" in response.json()["detail"]


async def test_bodies_in_flight_are_counted(serve: Serve) -> None:
    """Over the limit a body is refused before it is read; small ones are always taken."""
    entered, release = Event(), Event()

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Wait, where a is 7."""
        if a.reshape(-1)[0] == 7:
            entered.set()
            release.wait(10)
        return a @ b

    async with serve(one_strategy(only), max_inflight_bytes=1_500_000) as client:
        first = asyncio.create_task(client.post("/matmul", content=body([7], [1])))
        try:
            await asyncio.to_thread(entered.wait, 10)
            for path in ("/matmul", "/matmul/plan", "/matmul/compare"):
                second = await client.post(path, content=body([1], [1]))
                assert (second.status_code, second.json()["code"]) == (503, "overloaded")
                assert int(second.headers["Retry-After"]) >= 1
                assert "SERVICE_MAX_INFLIGHT_BYTES" in second.json()["detail"]
            assert (await client.post("/matmul", json={"a": [1], "b": [1]})).status_code == 200
        finally:
            release.set()
        assert (await first).status_code == 200
        for path in ("/matmul", "/matmul/plan", "/matmul/compare"):
            assert (await client.post(path, content=body([1], [1]))).status_code == 200


async def test_no_call_is_taken_while_warming(cost_model: CostModel) -> None:
    """Until the strategies are measured the service says that it lives and is not ready."""
    release = Event()

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Wait, whatever comes."""
        release.wait(10)
        return a @ b

    app = create_app(Settings(), registry=one_strategy(only), cost_model=CostModel())
    async with app.router.lifespan_context(app), client_of(app) as client:
        try:
            for request in (
                client.post("/matmul", json={"a": [1], "b": [1]}),
                client.get("/health/ready"),
            ):
                response = await request
                assert (response.status_code, response.json()["code"]) == (503, "warming-up")
                assert int(response.headers["Retry-After"]) >= 1
            assert (await client.get("/health/live")).json() == {"status": "live"}
        finally:
            release.set()
        await app.state.service.warmed_up()
        assert (await client.get("/health/ready")).json()["status"] == "ready"
        assert (await client.post("/matmul", json={"a": [1], "b": [1]})).status_code == 200


async def test_no_call_is_taken_after_a_failed_start(cost_model: CostModel) -> None:
    """Calls and the check of readiness say so, and not that the service has just started."""

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Fail, whatever comes."""
        raise RuntimeError("a secret")

    app = create_app(Settings(), registry=one_strategy(only), cost_model=CostModel())
    async with running(app), client_of(app) as client:
        for request in (
            client.post("/matmul", json={"a": [1], "b": [1]}),
            client.post("/matmul/plan", json={"a": [1], "b": [1]}),
            client.get("/health/ready"),
            client.get("/v2/health/ready"),
        ):
            response = await request
            assert response.status_code == 503
            assert "could not start to compute" in response.text
            assert "secret" not in response.text
        assert (await client.get("/health/live")).json() == {"status": "live"}


async def test_a_service_that_ends_while_it_warms_up_is_never_ready(cost_model: CostModel) -> None:
    """The end of the measurements does not make it ready."""
    app = create_app(Settings(), cost_model=cost_model)
    async with app.router.lifespan_context(app):
        service = app.state.service
        service.drain()
        await service.warmed_up()
        assert service.state == "draining"


async def test_no_call_is_taken_after_the_end(cost_model: CostModel) -> None:
    """A service that has been stopped is not ready."""
    app = create_app(Settings(), cost_model=cost_model)
    async with client_of(app) as client:
        async with running(app):
            pass
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.post("/norm", json={"x": [1]})).status_code == 503


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["python", "torch"],
)
async def test_memory_that_runs_out_is_no_fault_of_the_request(
    serve: Serve, error: Exception
) -> None:
    """The call gets a 503, since it may work later."""

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Run out of memory, where a is 7."""
        if a.reshape(-1)[0] == 7:
            raise error
        return a @ b

    async with serve(one_strategy(only)) as client:
        response = await client.post("/matmul", json={"a": [7], "b": [1]})
        assert (response.status_code, response.json()["code"]) == (503, "out-of-memory")
        assert int(response.headers["Retry-After"]) >= 1
        assert (await client.post("/matmul", json={"a": [1], "b": [1]})).status_code == 200


async def test_a_fault_of_the_service_tells_nothing_but_the_request(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The response has the request id; the log has the error."""

    def only(a: Tensor, b: Tensor) -> Tensor:
        """Fail, where a is 7."""
        if a.reshape(-1)[0] == 7:
            raise RuntimeError("a secret")
        return a @ b

    async with serve(one_strategy(only)) as client:
        headers = {"X-Request-Id": "my-call"}
        response = await client.post("/matmul", json={"a": [7], "b": [1]}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (500, "internal-error")
    assert response.headers["X-Request-Id"] == "my-call"
    assert "my-call" in response.json()["detail"]
    assert "secret" not in response.text
    assert "a secret" in caplog.text
