"""What a worker process does with a request, run in this process."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from time import perf_counter_ns
from typing import Any

import orjson
import pytest
import torch

from service.codecs import READERS
from service.core.response import HttpResponse
from service.core.timing import DECODE, QUEUE, Stopwatch
from service.executors import Bytes, Channel, Handler
from service.operations import REGISTRY
from service.pipeline.messages import (
    Admitted,
    WorkerRequest,
    WrongDeviceError,
    response_from,
    response_head,
)
from service.pipeline.worker import RequestHandler, make
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.device_processes import GPU, STEP_NS, rates_of

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
JSON = "application/json"
INPUT = {"shape": [2, 2], "datatype": "FP32"}
INFERENCE = orjson.dumps(
    {
        "inputs": [
            {**INPUT, "name": "a", "data": [1, 2, 3, 4]},
            {**INPUT, "name": "b", "data": [5, 6, 7, 8]},
        ]
    }
)
GPU_ROW = asdict(GPU)
TASK = WorkerRequest("matmul", (None, None, None, None), "", "mine", Stopwatch.start().marks)


@pytest.fixture
def handler(cost_model: CostModel) -> Handler:
    """A worker's, with this host's rates."""
    return make(settings=Settings().model_dump(), rates=cost_model.to_rows())


def replied(
    handler: Handler,
    task: WorkerRequest,
    body: bytes,
    left: list[int] | None = None,
    told: list[Bytes] | None = None,
) -> HttpResponse:
    """The reply to a task; deadlines that it shortens go to `left`, and parts to `told`."""
    line = Channel(([] if left is None else left).append, ([] if told is None else told).append)
    answer = handler.answer(task.to_json(), bytearray(body), line)
    reply, _, _ = response_from(answer.head, bytearray(b"".join(answer.chunks)))
    return reply


def fields_of(reply: HttpResponse) -> Mapping[str, object]:
    """The document in a reply."""
    found: Mapping[str, object] = orjson.loads(b"".join(reply.chunks))
    return found


def test_a_task_travels() -> None:
    """What a worker gets is what was sent."""
    rates = [["matmul", "loops", "cpu", "float32", 1.5, 0.0]]  # JSON has no tuples
    told = replace(TASK, streams=True, absences={"cuda:0": ("it died", 3)}, rates=rates)  # type: ignore[arg-type]  # as above
    marks: Any = [[*mark] for mark in TASK.marks]
    assert WorkerRequest.from_json(told.to_json()) == replace(told, headers=[None] * 4, marks=marks)
    for admitted in (None, Admitted("loops", "cpu", 5)):
        task = replace(TASK, headers=[None, "gzip", "é", ""], query="a=%20&ü", admitted=admitted)
        for version in ("", "auto"):
            task = replace(task, version=version)
            assert WorkerRequest.from_json(task.to_json()) == replace(task, marks=marks)


def test_a_reply_travels() -> None:
    """Its headers are bytes, some of them no ASCII."""
    reply = HttpResponse(503, ((b"retry-after", b"1"), (b"x", b"\xe9\x00")), (b"some", b"thing"))
    watch = Stopwatch.start()
    watch.lap(QUEUE)
    watch.stop()
    head = response_head(reply, watch, "loops")
    found, theirs, strategy = response_from(head, bytearray(b"something"))
    assert (found.status, found.headers) == (reply.status, reply.headers)
    assert [tuple(mark) for mark in theirs.marks] == watch.marks
    assert (theirs.phases, strategy) == (watch.phases, "loops")
    assert b"".join(found.chunks) == b"something"


def test_a_call_that_is_not_planned(handler: Handler) -> None:
    """It is decoded, measured, planned, admitted and computed; the clock is the server's."""
    watch = Stopwatch([(DECODE, perf_counter_ns() - 5_000_000_000)])
    watch.lap(QUEUE)
    task = replace(TASK, marks=watch.marks, query="strategy=loops")
    left: list[int] = []
    reply = replied(handler, task, BODY, left)
    answer = json.loads(b"".join(reply.chunks))
    assert reply.status == 200
    assert answer["result"]["data"] == [[19, 22], [43, 50]]
    assert (answer["strategy"], answer["request_id"]) == ("loops", "mine")
    assert answer["timing"]["executor"] == "process"
    assert answer["timing"]["queue_ms"] > 5000
    assert left == []


def test_a_deadline_in_the_body(handler: Handler) -> None:
    """The server is told what is left of it, which is at least a millisecond."""
    watch = Stopwatch([(DECODE, perf_counter_ns() - 2_000_000_000)])
    watch.lap(QUEUE)
    for deadline_ms, expected in ((5000, range(1, 3001)), (1000, [1])):
        left: list[int] = []
        body = BODY[:-1] + b', "deadline_ms": %d}' % deadline_ms
        replied(handler, replace(TASK, marks=watch.marks), body, left)
        assert left[0] in expected


def test_decoding_is_a_part_of_the_deadline(handler: Handler) -> None:
    """What is left is counted from its end."""
    left: list[int] = []
    body = BODY[:-1] + b', "deadline_ms": 5000}' + b" " * 50_000_000
    replied(handler, replace(TASK, marks=Stopwatch.start().marks), body, left)
    assert left[0] < 5000


def test_a_call_that_is_admitted(handler: Handler) -> None:
    """Its strategy is the one that was planned, whatever its estimate is here."""
    body = BODY[:-1] + b', "deadline_ms": 7}'
    left: list[int] = []
    admitted = Admitted("numpy", "cpu", 10**12)
    answer = fields_of(replied(handler, replace(TASK, admitted=admitted), body, left))
    assert (answer["strategy"], left) == ("numpy", [])


def test_a_call_for_a_device_of_another_process(cost_model: CostModel) -> None:
    """It is decoded and planned, and handed back with its plan; `auto` heeds what is not ready."""
    handler = make(
        settings=Settings().model_dump(mode="json"), rates=cost_model.to_rows(), gpus=[GPU_ROW]
    )
    task = replace(TASK, rates=rates_of(GPU), query="deadline_ms=900")
    left: list[int] = []
    with pytest.raises(WrongDeviceError, match="cuda:0 has a process of its own") as elsewhere:
        replied(handler, task, BODY, left)
    found = elsewhere.value
    assert found.admitted == Admitted("torch", "cuda:0", round(STEP_NS))
    assert found.deadline_ms == 900
    assert left
    assert Stopwatch([*found.marks]).sum_up()[DECODE] > 0

    absent = replace(task, absences={"cuda:0": ("it died", 3)})
    assert fields_of(replied(handler, absent, BODY))["device"] == "cpu"
    named = BODY[:-1] + b', "device": "cuda"}'
    reply = replied(handler, replace(absent, query=""), named)
    assert (reply.status, fields_of(reply)["code"]) == (503, "device-unready")
    assert dict(reply.headers)[b"retry-after"] == b"3"


def test_a_race_beside_a_device_of_another_process(cost_model: CostModel) -> None:
    """It knows what the owner has measured and whether it is ready, and leaves its device out."""
    handler = make(
        settings=Settings().model_dump(mode="json"), rates=cost_model.to_rows(), gpus=[GPU_ROW]
    )
    body = BODY[:-1] + b', "strategies": ["torch"], "repeat": 1}'
    task = replace(TASK, streams=False, rates=rates_of(GPU))
    there, here = json.loads(b"".join(replied(handler, task, body).chunks))["rows"]
    assert (there["device"], there["estimated_ms"]) == ("cuda:0", STEP_NS / 1e6)
    assert "a process of its own computes there" in there["skipped"]
    assert (here["device"], here["runs"]) == ("cpu", 1)

    absent = replace(task, absences={"cuda:0": ("it died", 3)})
    (row,) = json.loads(b"".join(replied(handler, absent, body).chunks))["rows"]
    assert (row["device"], row["runs"]) == ("cpu", 1)
    reply = replied(handler, replace(absent, query="device=cuda"), body)
    assert (reply.status, fields_of(reply)["code"]) == (503, "device-unready")


def test_a_refusal(handler: Handler) -> None:
    """A problem document, as from the server."""
    reply = replied(handler, TASK, b'{"a": [1, 2]}')
    assert (reply.status, fields_of(reply)["code"]) == (422, "missing-field")


def test_a_model(handler: Handler) -> None:
    """The Open Inference Protocol, by the headers that it has, and with its own errors."""
    length = str(len(INFERENCE))
    task = replace(TASK, version="numpy", headers=[None, None, length])
    answer = fields_of(replied(handler, task, INFERENCE))
    assert (answer["model_version"], answer["outputs"]) == (
        "numpy",
        [{"name": "result", "datatype": "FP32", "shape": [2, 2], "data": [19, 22, 43, 50]}],
    )
    reply = replied(handler, replace(task, headers=[None, None, "9999"]), INFERENCE)
    assert reply.status == 400
    assert fields_of(reply).keys() == {"error"}


def test_a_race(handler: Handler) -> None:
    """The report, by the estimates of the server; the rows before it, if they are asked for."""
    rates = [
        ("matmul", name, "cpu", "float32", 1_000_000.0, 0.0)
        for name in REGISTRY["matmul"].strategies
    ]
    body = BODY[:-1] + b', "strategies": ["loops", "torch"], "repeat": 2}'
    for streams, rows in ((False, 0), (True, 2)):
        told: list[Bytes] = []
        task = replace(TASK, query="baseline=torch", streams=streams, rates=rates)
        reply = replied(handler, task, body, told=told)
        report = json.loads(b"".join(reply.chunks))
        assert (reply.status, report["baseline"]) == (200, "torch")
        assert [(row["strategy"], row["runs"]) for row in report["rows"]] == [
            ("loops", 2),
            ("torch", 2),
        ]
        assert report["rows"][0]["estimated_ms"] == 8
        assert len(told) == rows
        for row in told:
            fields = json.loads(bytes(row))
            reported = next(r for r in report["rows"] if r["strategy"] == fields["strategy"])
            assert fields == reported | {"speedup": None}


def test_a_race_that_is_refused(handler: Handler) -> None:
    """In another format, too: it is read as the server would read it."""
    task = replace(TASK, streams=True)
    told: list[Bytes] = []
    reply = replied(handler, task, BODY[:-1] + b', "repeat": 0}', told=told)
    assert (reply.status, fields_of(reply)["code"]) == (422, "invalid-field")
    packed = replace(task, headers=[JSON, "gzip", None, None])
    reply = replied(handler, packed, gzip.compress(BODY[:-1] + b', "repeat": 0}'), told=told)
    assert (reply.status, fields_of(reply)["code"]) == (422, "invalid-field")
    assert told == []


def test_formats(handler: Handler) -> None:
    """Those that the server agreed on, by the same headers."""
    raw = "application/octet-stream"
    reply = replied(handler, replace(TASK, headers=[JSON, None, raw, "zstd"]), BODY)
    assert b"".join(reply.chunks) == torch.tensor([[19.0, 22.0], [43.0, 50.0]]).numpy().tobytes()
    assert dict(reply.headers)[b"content-type"] == raw.encode()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator"), MemoryError),
        (MemoryError(), MemoryError),
        (RuntimeError("a fault"), RuntimeError),
    ],
    ids=["torch", "python", "fault"],
)
def test_what_goes_wrong_outside_the_strategy(
    cost_model: CostModel, monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    """Memory may run out while a body is read: however that is said, it is told as such."""

    def decode(*arguments: object) -> None:
        raise error

    handler = make(settings=Settings().model_dump(), rates=cost_model.to_rows())
    monkeypatch.setattr(type(READERS[JSON]), "decode", decode)
    with pytest.raises(told):
        replied(handler, TASK, BODY)


def test_resting(handler: Handler) -> None:
    """Memory is given back; the next call finds its way."""
    assert isinstance(handler, RequestHandler)
    handler.trim_memory()
    assert replied(handler, TASK, BODY).status == 200


def test_rates_travel(cost_model: CostModel) -> None:
    """As JSON, bit for bit."""
    op = REGISTRY["matmul"]
    service = make(settings=Settings().model_dump(), rates=[])
    assert isinstance(service, RequestHandler)
    engine = service._service.engine
    engine.measure(op, torch.float32)
    rows = engine.planner.cost_model.to_rows()
    assert rows
    assert CostModel.from_rows(orjson.loads(orjson.dumps(rows))).to_rows() == rows
