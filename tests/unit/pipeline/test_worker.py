"""The handler of a worker process, run in this process."""

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
from service.core.devices import CPU
from service.core.response import HttpResponse
from service.core.timing import DECODE, QUEUE, Stopwatch
from service.executors import Ask, Bytes, Channel, Handler, SharedBuffer
from service.operations import REGISTRY
from service.pipeline.messages import (
    CALIBRATE,
    Admitted,
    WorkerRequest,
    WrongDeviceError,
    response_from,
)
from service.pipeline.race_slices import Slice
from service.pipeline.worker import RequestHandler, make
from service.planning.cost_model import COPY, PEAK, PRODUCT, CostModel, Curve
from service.settings import Settings
from tests.rigs.costs import cost_rows
from tests.rigs.device_processes import GPU, STEP_NS, curves_of

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
MESSAGE = WorkerRequest("matmul", (None, None, None, None), "", "mine", Stopwatch.start().marks)


@pytest.fixture
def handler(cost_model: CostModel) -> Handler:
    """The handler of a worker process, with costs measured on this host."""
    return make(settings=Settings().model_dump(), curves=cost_model.to_rows())


def response_to(
    handler: Handler,
    message: WorkerRequest,
    body: bytes,
    left: list[int] | None = None,
    parts: list[Bytes] | None = None,
    *,
    ask: Ask = bytearray,
) -> HttpResponse:
    """Return the response to a request; deadlines that are set go to `left`, rows to `parts`.

    The server answers questions by `ask`.
    """
    deadlines, rows = [] if left is None else left, [] if parts is None else parts
    channel = Channel(deadlines.append, rows.append, ask)
    answer = handler.answer(message.to_json(), bytearray(body), channel)
    response, _, _ = response_from(answer.head, bytearray(b"".join(answer.chunks)))
    return response


def fields_of(response: HttpResponse) -> Mapping[str, object]:
    """Return the JSON document in a response."""
    found: Mapping[str, object] = orjson.loads(b"".join(response.chunks))
    return found


def test_a_body_is_copied(handler: Handler) -> None:
    """It is read from its offset in the shared buffer."""
    buffer = SharedBuffer()
    buffer.write(BODY, 64)
    body = handler.read_body(buffer, len(BODY), 64)
    buffer.write(bytes(len(BODY)), 64)
    assert body == BODY
    buffer.close()


def test_a_call_that_is_not_planned(handler: Handler) -> None:
    """It is decoded, planned and computed; time counts from the first mark."""
    watch = Stopwatch([(DECODE, perf_counter_ns() - 5_000_000_000)])
    watch.lap(QUEUE)
    message = replace(MESSAGE, marks=watch.marks, query="strategy=loops")
    left: list[int] = []
    response = response_to(handler, message, BODY, left)
    answer = json.loads(b"".join(response.chunks))
    assert response.status == 200
    assert answer["result"]["data"] == [[19, 22], [43, 50]]
    assert (answer["strategy"], answer["request_id"]) == ("loops", "mine")
    assert answer["timing"]["executor"] == "process"
    assert answer["timing"]["queue_ms"] > 5000
    assert left == []


def test_a_deadline_in_the_body(handler: Handler) -> None:
    """The server gets the rest of it, which is at least a millisecond."""
    watch = Stopwatch([(DECODE, perf_counter_ns() - 2_000_000_000)])
    watch.lap(QUEUE)
    for deadline_ms, expected in ((5000, range(1, 3001)), (1000, [1])):
        left: list[int] = []
        body = BODY[:-1] + b', "deadline_ms": %d}' % deadline_ms
        response_to(handler, replace(MESSAGE, marks=watch.marks), body, left)
        assert left[0] in expected


def test_decoding_is_a_part_of_the_deadline(handler: Handler) -> None:
    """The rest of a deadline is counted from its end."""
    left: list[int] = []
    body = BODY[:-1] + b', "deadline_ms": 5000}' + b" " * 50_000_000
    response_to(handler, replace(MESSAGE, marks=Stopwatch.start().marks), body, left)
    assert left[0] < 5000


def test_a_call_that_is_admitted(handler: Handler) -> None:
    """Its strategy is the one that was planned, even if its estimate here is too long."""
    body = BODY[:-1] + b', "deadline_ms": 7}'
    left: list[int] = []
    admitted = Admitted("numpy", "cpu", 10**12)
    answer = fields_of(response_to(handler, replace(MESSAGE, admitted=admitted), body, left))
    assert (answer["strategy"], left) == ("numpy", [])


STEPS = b"""{"operands": [[[1, 2], [3, 4]]], "deadline_ms": 900, "steps": [
  {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 0}},
  {"name": "y", "operation": "broadcast", "op": "sub", "operands": [{"step": "h"}, 7]}]}"""


def test_a_chain(handler: Handler, cost_model: CostModel) -> None:
    """It is planned here, or computed by the strategies that were admitted, or passed back."""
    message, left = replace(MESSAGE, op="chain"), list[int]()
    answer: Any = fields_of(response_to(handler, message, STEPS, left))
    assert (answer["results"]["y"]["data"], len(left)) == ([[0, 3], [8, 15]], 1)
    plain = STEPS.replace(b'"deadline_ms": 900, ', b"")
    assert (response_to(handler, message, plain, left).status, len(left)) == (200, 1)

    late = replace(message, admitted=Admitted("numpy,loops", "cpu", 10**12))
    answer = fields_of(response_to(handler, late, STEPS, left))
    assert [step["strategy"] for step in answer["steps"]] == ["numpy", "loops"]
    assert len(left) == 1

    elsewhere = make(settings={}, curves=cost_model.to_rows(), gpus=[GPU_ROW])
    with pytest.raises(WrongDeviceError) as caught:
        response_to(elsewhere, replace(message, curves=curves_of(GPU)), STEPS)
    assert caught.value.admitted == Admitted("torch,torch", "cuda:0", 2 * round(STEP_NS))


def test_gradients(handler: Handler, cost_model: CostModel) -> None:
    """They are planned here, or computed by the strategies that were admitted."""
    message = replace(MESSAGE, op="einsum/gradients")
    body = json.dumps({"equation": "i,j->ij", "operands": [[1] * 11, [2] * 11]}).encode()
    answer: Any = fields_of(response_to(handler, message, body))
    assert answer["gradients"]["0"]["result"]["data"] == [22] * 11

    # With 121 elements the result is over the limit, which is no matter of an admitted call.
    strict = make(settings={"max_elements": 100}, curves=cost_model.to_rows())
    assert fields_of(response_to(strict, message, body))["code"] == "limit-exceeded"
    late = replace(message, admitted=Admitted("numpy,torch", "cpu", 10**12))
    answer = fields_of(response_to(strict, late, body))
    strategies = [each["strategy"] for each in answer["gradients"].values()]
    assert strategies == ["numpy", "torch"]


def test_a_call_for_a_device_of_another_process(cost_model: CostModel) -> None:
    """It is decoded, planned and passed back; `auto` leaves out devices that are not ready."""
    handler = make(
        settings=Settings().model_dump(mode="json"), curves=cost_model.to_rows(), gpus=[GPU_ROW]
    )
    message = replace(MESSAGE, curves=curves_of(GPU), query="deadline_ms=900")
    left: list[int] = []
    with pytest.raises(WrongDeviceError, match="cuda:0 has a process of its own") as caught:
        response_to(handler, message, BODY, left)
    found = caught.value
    assert found.admitted == Admitted("torch", "cuda:0", round(STEP_NS), is_auto=True)
    assert found.deadline_ms == 900
    assert left
    assert Stopwatch([*found.marks]).sum_up()[DECODE] > 0

    absent = replace(message, absences={"cuda:0": ("it died", 3)})
    assert fields_of(response_to(handler, absent, BODY))["device"] == "cpu"
    named = BODY[:-1] + b', "device": "cuda"}'
    response = response_to(handler, replace(absent, query=""), named)
    assert (response.status, fields_of(response)["code"]) == (503, "device-unready")
    assert dict(response.headers)[b"retry-after"] == b"3"


def test_a_race_beside_a_device_of_another_process(cost_model: CostModel) -> None:
    """The race has the costs that the process measured, and asks the server for its runs."""
    handler = make(
        settings=Settings().model_dump(mode="json"), curves=cost_model.to_rows(), gpus=[GPU_ROW]
    )
    body = BODY[:-1] + b', "strategies": ["torch"], "repeat": 1}'
    message = replace(MESSAGE, streams=False, curves=curves_of(GPU))
    asked: list[Slice] = []

    def ask(question: bytes) -> bytearray:
        asked.append(Slice.from_json(question))
        return bytearray(b'{"skipped": "it died", "is_lost": true}')

    response = response_to(handler, message, body, ask=ask)
    there, here = json.loads(b"".join(response.chunks))["rows"]
    assert (there["device"], there["estimated_ms"]) == ("cuda:0", STEP_NS / 1e6)
    assert there["skipped"] == "it died"
    assert [(part.act, part.device, part.strategy) for part in asked] == [
        ("warm_up", "cuda:0", "torch")
    ]
    assert (here["device"], here["runs"]) == ("cpu", 1)

    absent = replace(message, absences={"cuda:0": ("it died", 3)})
    (row,) = json.loads(b"".join(response_to(handler, absent, body).chunks))["rows"]
    assert (row["device"], row["runs"]) == ("cpu", 1)
    response = response_to(handler, replace(absent, query="device=cuda"), body)
    assert (response.status, fields_of(response)["code"]) == (503, "device-unready")


def test_measurements(handler: Handler) -> None:
    """It measures one operation with one dtype on one device, and sends the costs."""
    answer = handler.answer(
        CALIBRATE + b"norm int8 cpu", bytearray(), Channel(print, print, bytearray)
    )
    found = orjson.loads(answer.head)
    rows = [row for row in found if row[0] != PEAK]
    assert {tuple(row[0:4:2]) for row in rows} == {("norm", "cpu")}
    assert {row[3] for row in rows} == {"int8"}
    norm = REGISTRY["norm"]
    assert {row[1] for row in rows} == {n for n, s in norm.strategies.items() if s.dtypes_on("cpu")}
    peaks = {tuple(row[1:4]) for row in found if row[0] == PEAK}
    assert {(PRODUCT, "cpu", "int8"), (COPY, "cpu", "uint8")} <= peaks


def test_an_error(handler: Handler) -> None:
    """Its response is a problem document, as from the server."""
    response = response_to(handler, MESSAGE, b'{"a": [1, 2]}')
    assert (response.status, fields_of(response)["code"]) == (422, "missing-field")


def test_a_key_that_is_twice_in_the_query(handler: Handler) -> None:
    """The error has a response, too, though nothing has been decoded."""
    response = response_to(handler, replace(MESSAGE, query="device=cpu&device=cpu"), BODY)
    assert (response.status, fields_of(response)["code"]) == (400, "duplicate-key")


def test_a_model(handler: Handler) -> None:
    """The Open Inference Protocol is spoken, by its own headers and with its own errors."""
    length = str(len(INFERENCE))
    message = replace(MESSAGE, version="numpy", headers=[None, None, length])
    answer = fields_of(response_to(handler, message, INFERENCE))
    assert (answer["model_version"], answer["outputs"]) == (
        "numpy",
        [{"name": "result", "datatype": "FP32", "shape": [2, 2], "data": [19, 22, 43, 50]}],
    )
    response = response_to(handler, replace(message, headers=[None, None, "9999"]), INFERENCE)
    assert response.status == 400
    assert fields_of(response).keys() == {"error"}


def test_a_race(handler: Handler) -> None:
    """The report has the estimates of the server; rows precede it if they are wanted."""
    curves = [*cost_rows(CPU, Curve(0.0, (0.0,), (1_000_000.0,)))]
    body = BODY[:-1] + b', "strategies": ["loops", "torch"], "repeat": 2}'
    for streams, rows in ((False, 0), (True, 2)):
        parts: list[Bytes] = []
        message = replace(MESSAGE, query="baseline=torch", streams=streams, curves=curves)
        response = response_to(handler, message, body, parts=parts)
        report = json.loads(b"".join(response.chunks))
        assert (response.status, report["baseline"]) == (200, "torch")
        assert [(row["strategy"], row["runs"]) for row in report["rows"]] == [
            ("loops", 2),
            ("torch", 2),
        ]
        assert report["rows"][0]["estimated_ms"] == 8
        assert len(parts) == rows
        for row in parts:
            fields = json.loads(bytes(row))
            reported = next(r for r in report["rows"] if r["strategy"] == fields["strategy"])
            assert fields == reported | {"speedup": None}


def test_a_race_with_an_error(handler: Handler) -> None:
    """It is read as in the server, in another format, too."""
    message = replace(MESSAGE, streams=True)
    parts: list[Bytes] = []
    response = response_to(handler, message, BODY[:-1] + b', "repeat": 0}', parts=parts)
    assert (response.status, fields_of(response)["code"]) == (422, "invalid-field")
    packed = replace(message, headers=[JSON, "gzip", None, None])
    response = response_to(
        handler, packed, gzip.compress(BODY[:-1] + b', "repeat": 0}'), parts=parts
    )
    assert (response.status, fields_of(response)["code"]) == (422, "invalid-field")
    assert parts == []


def test_formats(handler: Handler) -> None:
    """They are those that the server negotiated, by the same headers."""
    raw = "application/octet-stream"
    response = response_to(handler, replace(MESSAGE, headers=[JSON, None, raw, "zstd"]), BODY)
    assert b"".join(response.chunks) == torch.tensor([[19.0, 22.0], [43.0, 50.0]]).numpy().tobytes()
    assert dict(response.headers)[b"content-type"] == raw.encode()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator"), MemoryError),
        (MemoryError(), MemoryError),
        (RuntimeError("a fault"), RuntimeError),
    ],
    ids=["torch", "python", "fault"],
)
def test_errors_outside_the_strategy(
    cost_model: CostModel,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
) -> None:
    """Memory may run out while a body is read: each error that says so is a MemoryError."""

    def decode(*arguments: object) -> None:
        raise error

    handler = make(settings=Settings().model_dump(), curves=cost_model.to_rows())
    monkeypatch.setattr(type(READERS[JSON]), "decode", decode)
    with pytest.raises(raised):
        response_to(handler, MESSAGE, BODY)


def test_memory_is_trimmed(handler: Handler) -> None:
    """Memory is returned to the system, and the next call works."""
    assert isinstance(handler, RequestHandler)
    handler.trim_memory()
    assert response_to(handler, MESSAGE, BODY).status == 200
