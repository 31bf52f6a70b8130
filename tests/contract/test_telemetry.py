"""OpenTelemetry: a span for each request if a collector is set, none otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from service.api.app import App
from service.observability import tracing
from tests.rigs.apps import Serve, app_of
from tests.rigs.servers import measured, serving

PRODUCT: dict[str, Any] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
INFERENCE = {
    "inputs": [
        {"name": name, "shape": [2, 2], "datatype": "FP32", "data": PRODUCT[name]} for name in "ab"
    ]
}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"},
            False,
        ),
    ],
)
def test_variables_set_a_collector(environment: Mapping[str, str], on: bool) -> None:
    """OpenTelemetry's own variables set a collector."""
    assert tracing.is_on(environment) == on


def test_a_provider_of_the_process_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that embeds the app may have set one."""
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    assert tracing.is_on({})


async def test_without_a_collector_calls_skip_the_framework(serve: Serve) -> None:
    """Without spans, calls skip the layers of the framework."""
    async with serve() as client:
        app = app_of(client)
        assert isinstance(app, App)
        assert "/matmul" in app.outermost.endpoints
        assert b"/matmul" in app.state.application.endpoints


async def test_with_a_collector_calls_come_by_the_router(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have spans; responses and counts are the same."""
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    async with serve() as client:
        app = app_of(client)
        assert isinstance(app, App)
        assert app.outermost.endpoints == {}
        assert app.state.application.endpoints == {}
        spans = Spans()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        with provider.get_tracer("test").start_as_current_span("request"):
            answer = await client.post("/matmul", json=PRODUCT)
        assert answer.json()["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
        refused = await client.post("/matmul", json={})
        assert (refused.status_code, refused.json()["code"]) == (422, "missing-field")
        calls = app.state.recorder.counters.calls
        assert {key[3]: histogram.count for key, histogram in calls.items()} == {200: 1, 422: 1}
    (fields,) = spans.fields
    assert fields["tensor_service.op"] == "matmul"
    timing = answer.json()["timing"]
    for phase in ("decode", "compute", "total"):
        assert fields[f"tensor_service.{phase}_ms"] == pytest.approx(timing[f"{phase}_ms"])


async def test_unauthenticated_requests_have_a_span(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 and 429 of the framework's routes and of calls, answered as without a collector."""
    plain: list[httpx.Response] = []
    traced: list[httpx.Response] = []
    for found, is_on in ((plain, False), (traced, True)):
        monkeypatch.setattr(tracing, "is_on", lambda is_on=is_on: is_on)
        async with serve(api_keys="0" * 64) as client:
            found += [await client.get("/limits"), await client.post("/matmul", json=PRODUCT)]
            found.append(await client.post("/v2/models/matmul/infer", json={}))
        async with serve(rate=0.001, rate_burst=1) as client:
            found += [await client.get("/limits"), await client.get("/limits")]
    assert [each.status_code for each in traced] == [401, 401, 401, 200, 429]
    for ours, theirs in zip(plain, traced, strict=True):
        assert (ours.status_code, ours.headers.keys()) == (
            theirs.status_code,
            theirs.headers.keys(),
        )
        if ours.status_code > 200:
            assert ours.json() | {"instance": ""} == theirs.json() | {"instance": ""}


class Spans(SpanExporter):
    """Exporter that keeps the attributes of spans."""

    def __init__(self) -> None:
        self.fields: list[dict[str, Any]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep them."""
        self.fields += [dict(span.attributes or {}) for span in spans]
        return SpanExportResult.SUCCESS


class Collector(ThreadingHTTPServer):
    """Takes spans over HTTP, as a collector of OpenTelemetry does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        super().__init__(("127.0.0.1", 0), Receiver)


class Receiver(BaseHTTPRequestHandler):
    """One export."""

    server: Collector

    def do_POST(self) -> None:
        """Keep the spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            asked = ExportTraceServiceRequest.FromString(body)
            self.server.spans += [
                span
                for resource in asked.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that runs."""
    with Collector() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def values(span: Span) -> dict[str, Any]:
    """Return the attributes of a span."""
    found: dict[str, Any] = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        assert kind is not None
        found[each.key] = getattr(each.value, kind)
    return found


def test_a_collector_gets_spans_of_refused_requests(collector: Collector) -> None:
    """A 401 and a 429 have a span with their status, in the trace of the client."""
    key = "open-sesame"
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "SERVICE_API_KEYS": sha256(key.encode()).hexdigest(),
        "SERVICE_RATE": "0.001",
        "SERVICE_RATE_BURST": "1",
    }
    with serving(**measured(), **variables) as url:
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        assert httpx.post(f"{url}/matmul", json=PRODUCT, headers=headers).status_code == 401
        headers["X-API-Key"] = key
        assert httpx.post(f"{url}/matmul", json=PRODUCT, headers=headers).status_code == 200
        assert httpx.post(f"{url}/norm", json=PRODUCT, headers=headers).status_code == 429
    spans = [values(span) for span in collector.spans if span.trace_id.hex() == TRACE]
    told = {
        (span["url.path"], span["http.response.status_code"])
        for span in spans
        if "url.path" in span
    }
    assert told == {("/matmul", 401), ("/matmul", 200), ("/norm", 429)}


def test_a_collector_gets_a_span_of_each_request(collector: Collector) -> None:
    """FastAPI makes it, in the trace of the client; it has the fields of a call."""
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    with serving(**measured(), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as url:
        headers = {"X-Request-Id": "r-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        answer = httpx.post(f"{url}/matmul", json=PRODUCT, headers=headers)
        assert answer.json()["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
        assert httpx.post(f"{url}/norm", json={}).status_code == 422
        httpx.post(f"{url}/matmul/plan", json=PRODUCT)
        httpx.post(f"{url}/v2/models/matmul/versions/numpy/infer", json=INFERENCE)
    spans = {span.name: span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER}
    assert {"POST /matmul", "POST /norm", "POST /matmul/plan"} <= spans.keys()
    span = spans["POST /matmul"]
    assert span.trace_id.hex() == TRACE
    found = values(span)
    assert found["http.response.status_code"] == 200
    assert found["tensor_service.request_id"] == "r-1"
    assert found["tensor_service.strategy"] == "torch"
    assert found["tensor_service.compute_ms"] == pytest.approx(
        answer.json()["timing"]["compute_ms"]
    )
    version = spans["POST /v2/models/{model}/versions/{version}/infer"]
    assert values(version)["tensor_service.strategy"] == "numpy"
    assert values(spans["POST /norm"])["http.response.status_code"] == 422
