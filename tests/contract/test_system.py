"""Routes about the service itself, and the headers of every response."""

import ast
from dataclasses import replace
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from httpx import AsyncClient
from starlette.types import Message

from service.api.app import create_app
from service.codecs import number_text
from service.core.dtypes import DTYPES
from service.errors import leaves
from service.operations import REGISTRY
from service.planning.cost_model import CostModel
from service.registry import Op, Registry, Strategy
from service.settings import NO_LIMITS, Settings
from tests.cases import strategies
from tests.rigs.apps import Serve, client_of

PRODUCT: dict[str, Any] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}


async def test_an_answer_is_what_the_contract_shows(client: AsyncClient) -> None:
    """The fields of an answer, with the values of the contract's own example."""
    response = await client.post("/matmul", json=PRODUCT | {"device": "cpu"})
    answer = response.json()
    assert answer.pop("timing").keys() >= {"total_ms"}
    assert answer.pop("request_id") == response.headers["X-Request-Id"]
    assert answer == {
        "op": "matmul",
        "result": {"shape": [2, 2], "dtype": "float32", "data": [[19.0, 22.0], [43.0, 50.0]]},
        "strategy": "torch",
        "device": "cpu",
        "warnings": [],
    }


async def test_strategies_are_the_registry(client: AsyncClient) -> None:
    """Operations and strategies in order, with what `auto` tries."""
    found = (await client.get("/strategies")).json()
    assert [op["name"] for op in found] == list(REGISTRY)
    for told, op in zip(found, REGISTRY.values(), strict=True):
        assert told["summary"] == op.summary
        assert told["operands"] == list(op.operands or ["operands"])
        assert told["auto"] == list(op.auto)
        assert [each["name"] for each in told["strategies"]] == list(op.strategies)


@pytest.mark.parametrize(
    ("op", "strategy"),
    [pytest.param(op, each, id=f"{op.name}-{each.name}") for op, each in strategies()],
)
async def test_a_strategy_shows_its_source(
    client: AsyncClient, op: Op[Any], strategy: Strategy[Any]
) -> None:
    """The snippet is the function alone; dtypes and work limits are those of this host."""
    found = (await client.get("/strategies")).json()
    (told,) = (
        each
        for told in found
        for each in told["strategies"]
        if (each["op"], each["name"]) == (op.name, strategy.name)
    )
    (function,) = ast.parse(told["snippet"]).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == strategy.compute.__name__
    assert (ast.get_docstring(function) or "").startswith(told["summary"])
    assert told["available"] == (told["reason"] is None) == bool(strategy.dtypes)
    for kind in ("cpu", "cuda", "cluster"):
        taken = {DTYPES[name].torch for name in told["dtypes"][kind]}
        assert taken == strategy.dtypes_on(kind)
    limits = {limit["device"]: limit for limit in told["work_limits"]}
    if not strategy.dtypes:
        assert not limits
        return
    assert limits["cpu"]["multiply_adds"] > 0
    assert limits["cpu"]["ns_per_multiply_add"] > 0


KERNELS = ("cuda", "triton")
NO_MODULE = "needs a module, which is not installed here: pip install it"
NO_GPU = "needs a GPU with CUDA, which this host does not have"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a GPU")
@pytest.mark.parametrize(("missing", "reason"), [(NO_MODULE, NO_MODULE), (None, NO_GPU)])
async def test_kernels_are_listed_with_what_they_need(
    serve: Serve, missing: str | None, reason: str
) -> None:
    """Alike in the list, in plans and in errors: a module and how to install it, or a GPU."""
    op = REGISTRY["matmul"]
    strategies = {
        name: replace(each, missing=missing if name in KERNELS else None)
        for name, each in op.strategies.items()
    }
    async with serve(Registry(replace(op, _strategies=strategies))) as client:
        listed = (await client.get("/strategies")).json()[0]["strategies"]
        planned = (await client.post("/matmul/plan", json=PRODUCT)).json()["strategies"]
        refused = [await client.post("/matmul", json=PRODUCT | {"strategy": k}) for k in KERNELS]
    for name, response in zip(KERNELS, refused, strict=True):
        (told,) = (each for each in listed if each["name"] == name)
        (estimate,) = (each for each in planned if each["strategy"] == name)
        assert told["reason"] == estimate["reason"] == reason
        assert not told["available"]
        assert (told["dtypes"]["cpu"], "float32" in told["dtypes"]["cuda"]) == ([], True)
        assert (response.status_code, response.json()["code"]) == (422, "strategy-unsuitable")
        assert response.json()["detail"].endswith(reason)


async def test_a_race_skips_kernels_with_the_reason(client: AsyncClient) -> None:
    """It is the one of the plan."""
    body = PRODUCT | {"device": "cpu"}
    planned = (await client.post("/matmul/plan", json=body)).json()["strategies"]
    named = body | {"strategies": [*KERNELS, "torch"], "repeat": 1}
    raced = (await client.post("/matmul/compare", json=named)).json()["rows"]
    reasons = {each["strategy"]: each["reason"] for each in planned}
    skipped = {each["strategy"]: each.get("skipped") for each in raced}
    assert all(reasons[name] for name in KERNELS)
    assert {name: skipped[name] for name in KERNELS} == {name: reasons[name] for name in KERNELS}


async def test_devices_are_those_of_this_host(client: AsyncClient) -> None:
    """The CPU is always there; TF32 is off."""
    found = (await client.get("/devices")).json()
    names = [device["name"] for device in found["devices"]]
    assert names == [*(f"cuda:{n}" for n in range(torch.cuda.device_count())), "cpu"]
    assert found["default"] == "auto"
    assert found["tf32"] is False


async def test_devices_have_their_peak_rates(client: AsyncClient, cost_model: CostModel) -> None:
    """Those that have been measured: products by dtype, and a copy."""
    found = (await client.get("/devices")).json()["devices"][-1]
    peak = cost_model.peak("cpu", torch.float32)
    assert peak.gflops is not None
    assert found["peak"]["gflops"]["float32"] == pytest.approx(peak.gflops, rel=1e-5)
    assert found["peak"]["gb_per_s"] == pytest.approx(peak.gb_per_s, rel=1e-5)
    empty = create_app(Settings(), cost_model=CostModel())
    async with client_of(empty) as unready:
        found = (await unready.get("/devices")).json()["devices"][-1]
    assert found["peak"] == {"gflops": {}, "gb_per_s": None}


@pytest.mark.parametrize(("reason", "value"), [(None, "compiled"), ("it was left out", "python")])
async def test_limits_tell_of_the_extension_module(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, reason: str | None, value: str
) -> None:
    """Loaded, or absent for a reason, with the variable that leaves it out."""
    monkeypatch.setattr(number_text, "reason", reason)
    found = {limit["name"]: limit for limit in (await client.get("/limits")).json()}["number_text"]
    assert (found["value"], found["setting"]) == (value, "TENSOR_SERVICE_NO_EXTENSIONS")
    assert (reason or "compiled") in found["description"]


async def test_limits_name_their_settings(client: AsyncClient) -> None:
    """Every limit of a call, with its value, its variable and what it means."""
    found = {limit["name"]: limit for limit in (await client.get("/limits")).json()}
    del found["number_text"]
    assert set(found) == set(Settings.model_fields) - set(NO_LIMITS)
    for name, limit in found.items():
        assert limit["value"] == getattr(Settings(), name)
        assert limit["setting"] == f"SERVICE_{name.upper()}"
        assert limit["description"]


async def test_health(client: AsyncClient) -> None:
    """Alive and ready, on each device."""
    assert (await client.get("/health/live")).json() == {"status": "live"}
    ready = (await client.get("/health/ready")).json()
    assert ready["status"] == "ready"
    names = [device["name"] for device in (await client.get("/devices")).json()["devices"]]
    assert ready["devices"] == dict.fromkeys(names)


@pytest.mark.parametrize("code", [kind.code for kind in leaves()])
async def test_a_problem_is_explained(client: AsyncClient, code: str) -> None:
    """The `type` of a problem document leads to what it means."""
    response = await client.get(f"/problems/{code}")
    assert response.status_code == 200
    found = response.json()
    assert found["code"] == code
    assert 400 <= found["status"] < 600
    assert found["title"]
    assert len(found["explanation"]) > 20
    assert found in (await client.get("/problems")).json()


async def test_an_answer_repeats_a_request_id(client: AsyncClient) -> None:
    """In the header and the body, on errors too."""
    headers = {"X-Request-Id": "a.B_c-1"}
    good = await client.post("/matmul", json=PRODUCT, headers=headers)
    bad = await client.post("/matmul", json={}, headers=headers)
    assert good.headers["X-Request-Id"] == good.json()["request_id"] == "a.B_c-1"
    assert (bad.status_code, bad.headers["X-Request-Id"]) == (422, "a.B_c-1")


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é".encode().decode("latin-1"), "a\tb"])
async def test_a_request_id_that_could_harm_is_replaced(client: AsyncClient, given: str) -> None:
    """Only letters, digits and a few signs go back, and at most 64 of them."""
    headers = {b"X-Request-Id": given.encode("latin-1")}
    response = await client.post("/matmul", json=PRODUCT, headers=headers)
    assert response.status_code == 200
    assert response.headers["X-Request-Id"] not in ("", given)
    assert len(response.headers["X-Request-Id"]) == 32


@pytest.mark.parametrize(
    "path", ["/strategies", "/devices", "/limits", "/health/live", "/problems"]
)
async def test_head_is_get_without_a_body(client: AsyncClient, path: str) -> None:
    """Same status and type, no content."""
    get, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_head_sends_no_body(app: FastAPI) -> None:
    """No body is sent; the length is that of GET."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": "HEAD",
        "path": "/limits",
        "headers": [],
        "query_string": b"",
    }
    await app({**scope, "root_path": "", "scheme": "http"}, receive, send)
    start, *bodies = sent
    assert start["status"] == 200
    assert int(dict(start["headers"])[b"content-length"]) > 0
    assert b"".join(message["body"] for message in bodies) == b""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/matmul", "OPTIONS, POST"), ("/strategies", "GET, HEAD, OPTIONS")],
)
async def test_options_lists_the_methods(client: AsyncClient, path: str, allowed: str) -> None:
    """The response to a wrong method lists them as well."""
    response = await client.options(path)
    assert (response.status_code, response.headers["Allow"]) == (204, allowed)
    wrong = await client.delete(path)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, allowed)


async def test_options_of_nothing_is_not_found(client: AsyncClient) -> None:
    """A path that does not exist has no methods."""
    assert (await client.options("/nothing")).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/health/live", "/nothing", "/openapi.json", "/docs", "/docs/assets/docs.js", "/"],
)
async def test_every_answer_guards_the_browser(client: AsyncClient, path: str) -> None:
    """No sniffing, no referrer."""
    headers = (await client.get(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/html, application/json;q=0.1",
        "text/html;q=1, */*;q=0.01",
        "*/*;q=0, application/json",
        "application/json; q=1.0; indent=2",
    ],
)
async def test_accept_admits_json(client: AsyncClient, accept: str) -> None:
    """By name, by type and by */*, with any quality above 0."""
    response = await client.post("/matmul", json=PRODUCT, headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("given", [None, "application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_the_body_is_json_by_default(client: AsyncClient, given: str | None) -> None:
    """No `Content-Type` means JSON; its parameters and its case do not matter."""
    headers = {} if given is None else {"Content-Type": given}
    body = b'{"a":[1],"b":[2]}'
    response = await client.post("/matmul", content=body, headers=headers)
    assert response.json()["result"]["data"] == 2.0


async def test_an_identity_encoding_is_none(client: AsyncClient) -> None:
    """`identity` is the name of no encoding."""
    headers = {"Content-Encoding": "Identity"}
    assert (await client.post("/matmul", json=PRODUCT, headers=headers)).status_code == 200


async def test_a_browser_is_shown_where_to_try(client: AsyncClient) -> None:
    """GET of an operation's path leads to the page for its requests."""
    opened = await client.get("/matmul")
    assert opened.status_code == 405
    assert opened.json()["hint"] == "in a browser, /docs has every request to try"
    assert "hint" not in (await client.put("/matmul")).json()
