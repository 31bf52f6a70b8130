"""Capture of the answers that the OpenAPI document shows as examples.

    python -m tools.answers

It runs the service in this process, sends the request of each example, provokes each error that
the document lists, and writes service/api/openapi/answers.json. An answer that differs from the
one in the file by time or host alone stays as it is. Run it in the root of the repository, then
`make openapi`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from math import isclose, prod
from threading import Event
from typing import Any, Final

import orjson
from httpx import ASGITransport, AsyncClient, Response

from service.api.app import App, create_app
from service.api.inference.openapi import EXAMPLE, EXAMPLE_NAME
from service.api.openapi.answers import FILE, UNNAMED, Answers, load_answers
from service.codecs.media_types import JSON
from service.examples import Example, examples_by_path
from service.http.auth import key_hash
from service.operations import REGISTRY
from service.pipeline.service import READY
from service.planning.cost_model import CostModel
from service.registry import Op, Registry
from service.settings import Settings

BASE: Final = "http://service.example"
KEY: Final = "tsk_of-the-examples"
REQUEST_ID: Final = "example-1"
# Blanks before a body make it too long for the event loop, so that the call waits for a thread.
BLANKS: Final = b" " * 2**21
DEADLINE_MS: Final = 20
# Answers to requests that have no name are cut: to so many objects of a list, and lines of a text.
SHOWN: Final = 2
SHOWN_LINES: Final = 6
COMMENT: Final = "# "  # of metrics
NAMES: Final = {"{model}": "matmul", "{version}": "torch", "{code}": "shape-mismatch"}
UNKNOWN: Final = {"{model}": "matmull", "{version}": "torch", "{code}": "shape-mismach"}
# How errors are provoked, by status, where that is the same for all routes.
REFUSED: Final[dict[str, dict[str, Any]]] = {
    "400": {"content": b'{"dtype": "float32",}'},
    "401": {"service": "guarded"},
    "406": {"headers": {"Accept": "image/png"}},
    "413": {"headers": {"Content-Length": "200000000"}},
    "415": {"headers": {"Content-Type": "text/csv"}},
    "429": {"service": "guarded", "headers": {"X-API-Key": KEY}},
    "500": {"service": "faulty"},
    "503": {"service": "warming"},
    "504": {"service": "busy"},
}
# Fields whose values depend on the time, on the host, or on the packages and calls it has had.
VARYING: Final = {
    "request_id", "instance", "timing", "compute_ms", "estimated_ms", "median_ms", "min_ms",
    "iqr_ms", "compile_ms", "runs", "speedup", "gflops", "gb_per_s", "peak_share", "skipped",
    "reason", "basis", "available", "accepted", "agrees", "disagreeing", "worst", "max_abs_error",
    "median_abs_error", "max_rel_error", "median_rel_error", "max_ulp_error", "median_ulp_error",
    "host", "device", "devices", "default", "work_limits", "value", "description", "setting",
    "threads", "version", "versions", "inference_stats", "last_inference", "inference_count",
    "execution_count", "batch_stats"
}  # fmt: skip
# Lists with an object for each strategy, on some hosts for each strategy and device.
BY_STRATEGY: Final = frozenset({"rows", "strategies"})


@dataclass(frozen=True)
class Request:
    """A request of a route; its answer stands in the file under a status and a name.

    `service` is a name of `services`.
    """

    route: str
    status: str
    name: str
    path: str
    service: str = "usual"
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def requests(document: Mapping[str, Any]) -> Iterator[Request]:
    """Yield a request for each example and for each error of the document."""
    shown = examples_by_path()
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            route = f"{method.upper()} {path}"
            yield from _requests(path, route, described, shown.get(path, []))


def _requests(
    path: str, route: str, described: Mapping[str, Any], shown: list[Example]
) -> Iterator[Request]:
    asked = Request(route, "200", UNNAMED, _filled(path, NAMES))
    refused = {each.name: each.expected["code"] for each in shown if "code" in each.expected}
    bodies = {each.name: orjson.dumps(each.body) for each in shown}
    if "requestBody" in described and not shown:
        bodies = {EXAMPLE_NAME: orjson.dumps(EXAMPLE["value"])}
    for name, body in bodies.items():
        status = "422" if name in refused else "200"
        yield replace(asked, status=status, name=name, content=body)
    if bodies:
        asked = replace(asked, content=next(iter(bodies.values())))
    else:
        yield asked
    for status in described["responses"]:
        if status == "422":
            yield from _unprocessable(asked, REGISTRY.get(path.split("/")[1]), {*refused.values()})
        elif status == "404":
            yield replace(asked, status=status, path=_filled(path, UNKNOWN))
        elif status != "200":
            yield replace(asked, status=status, **REFUSED[status])


def _filled(path: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        path = path.replace(placeholder, name)
    return path


def _unprocessable(asked: Request, op: Op[Any] | None, shown: set[str]) -> Iterator[Request]:
    """Yield requests that do not fit; no operands where an example with that problem is `shown`."""
    refusal = replace(asked, status="422")
    body = orjson.loads(refusal.content or b"")
    if "inputs" in body:
        body["inputs"][1]["shape"] = [4, 1]
        yield replace(refusal, content=orjson.dumps(body))
        return
    if op is not None and "shape-mismatch" not in shown:
        sample = next(each for each in op.error_samples if each.code == "shape-mismatch")
        tensors = [{"shape": shape, "data": [1] * prod(shape)} for shape in sample.shapes]
        operands = (
            {"operands": tensors}
            if op.operands is None
            else dict(zip(op.operands, tensors, strict=True))
        )
        content = orjson.dumps({**operands, **sample.params})
        yield replace(refusal, name=sample.code, content=content)
    yield replace(refusal, name="unknown-field", content=orjson.dumps(body | {"devise": "cpu"}))


@asynccontextmanager
async def services(usual: AsyncClient) -> AsyncIterator[dict[str, AsyncClient]]:
    """Open clients of services in several states, which are made to answer with an error.

    `usual` is a service that is ready. Another one has keys and a rate, one has just started, one
    has a bug, and the threads of one are busy.
    """
    keys = Settings(api_keys=f"demo:{key_hash(KEY.encode())}", rate=0.001, rate_burst=1)
    faulty = _ready(Settings(), Registry(*(replace(op, infer=_fail) for op in REGISTRY.values())))
    busy = _ready(Settings(deadline_ms=DEADLINE_MS, slots=1), Registry(*REGISTRY.values()))
    apps = {
        "guarded": create_app(keys, cost_model=CostModel()),
        "warming": create_app(Settings(), cost_model=CostModel()),
        "faulty": faulty,
        "busy": busy,
    }
    done = Event()
    threads = busy.state.service.threads
    blocked = threads.submit(done.wait, deadline_ms=DEADLINE_MS)
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(client_of(app)) for name, app in apps.items()
        }
        yield {"usual": usual, **clients}
        done.set()
        await blocked
        await asyncio.to_thread(threads.close)


def _ready(settings: Settings, registry: Registry) -> App:
    """Return an app of one process that takes calls though it has not started."""
    app = create_app(settings, registry=registry, cost_model=CostModel())
    app.state.service.state = READY
    return app


def _fail(*_: object, **__: object) -> Any:
    raise RuntimeError("a bug, for the example of an internal error")


def client_of(app: App) -> AsyncClient:
    """Return a client of an app in this process."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url=BASE)


async def send(clients: Mapping[str, AsyncClient], request: Request) -> Any:
    """Return the answer to a request as the file has it; AssertionError for another status."""
    headers = {"Content-Type": JSON, "X-Request-Id": REQUEST_ID, **request.headers}
    content = BLANKS + (request.content or b"") if request.service == "busy" else request.content
    method = request.route.partition(" ")[0]
    client = clients[request.service]
    for _ in range(3 if request.status == "429" else 1):  # the first one is within the rate
        response = await client.request(method, request.path, content=content, headers=headers)
        if str(response.status_code) == request.status:
            return _shown(request, response)
    raise AssertionError(f"{request} has another status")


def _shown(request: Request, response: Response) -> Any:
    if not response.headers["Content-Type"].endswith("json"):
        return "".join(response.text.splitlines(keepends=True)[:SHOWN_LINES])
    found = response.json()
    return _cut(found) if (request.status, request.name) == ("200", UNNAMED) else found


def _cut(value: Any) -> Any:
    """Return a value with the first few objects of each list of objects."""
    match value:
        case [{}, *_]:
            return [_cut(each) for each in value[:SHOWN]]
        case {}:
            return {key: _cut(each) for key, each in value.items()}
    return value


def is_same(found: Any, captured: Any) -> bool:
    """Return whether two answers are the same but for what depends on time or host.

    Numbers are compared by the lesson's own measure.
    """
    match found, captured:
        case {**found_fields}, {**captured_fields}:
            names = found_fields.keys() - VARYING
            return names == captured_fields.keys() - VARYING and all(
                is_same_by_strategy(name, found[name], captured[name])
                if name in BY_STRATEGY
                else is_same(found[name], captured[name])
                for name in names
            )
        case [*_], [*_]:
            return len(found) == len(captured) and all(map(is_same, found, captured))
        case str(), str() if captured.startswith(COMMENT):
            return _comments(found) == _comments(captured)
        case ((bool() | str() | None), _):
            return bool(found == captured)
        case _:
            return isclose(found, captured, rel_tol=1e-3, abs_tol=1e-5)


def is_same_by_strategy(name: str, found: list[Any], captured: list[Any]) -> bool:
    """Return whether rows are of the same strategies; those of plans have the same fields, too.

    In a race the fields tell what ran, which depends on the host.
    """
    is_race = name == "rows"
    return _strategies(found) == _strategies(captured) and (
        is_race or _fields(found) == _fields(captured)
    )


def _comments(metrics: str) -> list[str]:
    return [line for line in metrics.splitlines() if line.startswith(COMMENT)]


def _strategies(rows: list[dict[str, Any]]) -> list[str]:
    return [*dict.fromkeys(row.get("strategy") or row["name"] for row in rows)]


def _fields(rows: list[dict[str, Any]]) -> set[str]:
    return {field for row in rows for field in row}


def render(answers: Answers) -> str:
    """Return the text of the file, with a line for each answer."""
    routes = []
    for route, statuses in answers.items():
        texts = []
        for status, named in statuses.items():
            lines = [f"{_json(name)}: {_json(value)}" for name, value in named.items()]
            texts.append(f'"{status}": {{' + ",\n  ".join(lines) + "}")
        routes.append(f"{_json(route)}: {{\n " + ",\n ".join(texts) + "}")
    return "{\n" + ",\n".join(routes) + "\n}\n"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


async def capture(clients: Mapping[str, AsyncClient], document: Mapping[str, Any]) -> Answers:
    """Return the answers to all requests; those that have only varied are the known ones."""
    known, answers, errors = load_answers(), Answers(), list[Any]()
    for request in requests(document):
        found = await send(clients, request)
        before = known.get(request.route, {}).get(request.status, {}).get(request.name)
        if before is not None and is_same(found, before):
            found = before
        if request.status != "200":
            # Routes share an error in the document if it has one `instance` for all.
            found = next((each for each in errors if is_same(found, each)), found)
            errors.append(found)
        answers.setdefault(request.route, {}).setdefault(request.status, {})[request.name] = found
    return answers


async def main() -> int:
    """Write the file."""
    app = create_app(Settings())
    async with app.router.lifespan_context(app), client_of(app) as usual:
        await app.state.service.warmed_up()
        async with services(usual) as clients:
            answers = await capture(clients, app.openapi())
    FILE.write_text(render(answers), encoding="utf-8")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
