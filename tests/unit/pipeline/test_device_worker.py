"""The handler of a device process, run in this process; its device is the CPU."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from service.codecs import READERS
from service.core.timing import Stopwatch
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors import (
    ECHO,
    HANDSHAKE,
    PROBE,
    UNMAP,
    Channel,
    ExhaustedError,
    FatalError,
    SharedBuffer,
    WorkerResponse,
)
from service.operations import REGISTRY
from service.pipeline.device_worker import DeviceRequestHandler, make
from service.pipeline.messages import Admitted, WorkerRequest, response_from
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.device_processes import GPU, curves_of
from tests.rigs.gpu_faults import ADVICE, ILLEGAL

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
MESSAGE = WorkerRequest(
    "matmul",
    (None, None, None, None),
    "",
    "mine",
    Stopwatch.start().marks,
    admitted=Admitted("torch", "cuda:0", 100),
)


@pytest.fixture
def handler(cost_model: CostModel) -> DeviceRequestHandler:
    """The handler of the process of a GPU."""
    row = asdict(replace(GPU, has_process=False, torch_device="cpu"))
    known = [*cost_model.to_rows(), *curves_of(GPU)]
    made = make(settings=Settings().model_dump(mode="json"), curves=known, device=row)
    assert isinstance(made, DeviceRequestHandler)
    return made


def answer_of(handler: DeviceRequestHandler, head: bytes = MESSAGE.to_json()) -> WorkerResponse:
    """Return the answer to a product, or to another message."""
    return handler.answer(head, bytearray(BODY), Channel(print, print, bytearray))


def document(answer: WorkerResponse) -> Mapping[str, Any]:
    """Return the JSON document in a response."""
    response, _, _ = response_from(answer.head, bytearray(b"".join(answer.chunks)))
    found: Mapping[str, Any] = orjson.loads(b"".join(response.chunks))
    return found


def test_a_call(handler: DeviceRequestHandler) -> None:
    """It is computed on the device, by the strategy that was planned."""
    answer = document(answer_of(handler))
    assert answer["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
    assert (answer["device"], answer["strategy"]) == ("cuda:0", "torch")
    handler.trim_memory()


@pytest.mark.parametrize("op", ["matmul", "chain"])
def test_arithmetic(
    handler: DeviceRequestHandler, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    """The settings of torch are those that a call asks for, while it is computed."""
    strategies = REGISTRY["matmul"].strategies
    found: list[tuple[str, bool]] = []

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        precision = torch.backends.cuda.matmul.fp32_precision
        found.append((precision, torch.are_deterministic_algorithms_enabled()))
        return a @ b

    monkeypatch.setitem(strategies, "torch", replace(strategies["torch"], compute=product))
    call = orjson.loads(BODY)
    if op == "chain":
        step = {"name": "y", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
        call = {"operands": [call["a"], call["b"]], "steps": [step]}
    head = replace(MESSAGE, op=op).to_json()
    for fields in ({"precision": "tf32", "deterministic": True}, {}):
        text = bytearray(orjson.dumps({**call, **fields}))
        answer = document(handler.answer(head, text, Channel(print, print, bytearray)))
        assert {name: answer[name] for name in fields} == fields
    assert found == [("tf32", True), ("ieee", False)]


def test_a_report(handler: DeviceRequestHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the costs of every strategy that the device supports, and of no other device."""
    report = orjson.loads(answer_of(handler, HANDSHAKE).head)
    assert (report["description"], report["memory_bytes"]) == ("", None)
    assert report["has_tf32"] is False
    pairs = {tuple(row[:4]) for row in report["curves"]}
    assert pairs == {row[:4] for row in curves_of(GPU)}


def test_a_probe(handler: DeviceRequestHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes a product and measures nothing; a device that fails ends the process."""
    monkeypatch.delattr(Engine, "unmeasured")
    assert answer_of(handler, PROBE) == WorkerResponse(b"")
    monkeypatch.setattr("service.engine.PROBED", [[0.0]])
    with pytest.raises(FatalError, match="takes the square"):
        answer_of(handler, PROBE)


def test_an_echo(handler: DeviceRequestHandler) -> None:
    """The body is sent back, and nothing is decoded."""
    assert answer_of(handler, ECHO) == WorkerResponse(b"", (bytearray(BODY),))


def test_a_body_is_read_where_it_is(handler: DeviceRequestHandler) -> None:
    """The device copies operands from the buffer, which may shrink after UNMAP."""
    buffer = SharedBuffer()
    buffer.write(BODY, 64)
    body = handler.read_body(buffer, len(BODY), 64)
    assert body == BODY
    buffer.write(b"[", 64)
    assert bytes(body[:1]) == b"["
    del body
    assert answer_of(handler, UNMAP) == WorkerResponse(b"")
    assert "memfd:shared-buffer" not in Path("/proc/self/maps").read_text(encoding="ascii")
    buffer.shrink(0)
    buffer.write(BODY, 64)
    answer = handler.answer(
        MESSAGE.to_json(),
        handler.read_body(buffer, len(BODY), 64),
        Channel(print, print, bytearray),
    )
    assert document(answer)["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
    buffer.close()


def test_nothing_is_pinned_for_an_empty_body(handler: DeviceRequestHandler) -> None:
    """CUDA would choose a GPU for it, and that before the handshake."""
    buffer = SharedBuffer()
    assert handler.read_body(buffer, 0, 64) == b""
    assert buffer.size == 0
    buffer.close()


def test_a_new_device_is_measured(cost_model: CostModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured in float32 before it is ready; nothing else is, and nothing is compiled."""
    row = asdict(replace(GPU, has_process=False, torch_device="cpu"))
    known = [each for each in cost_model.to_rows() if each[2] == "cpu"]
    made = make(settings=Settings().model_dump(mode="json"), curves=known, device=row)
    assert isinstance(made, DeviceRequestHandler)
    measured: list[tuple[str, torch.dtype, str, bool]] = []
    monkeypatch.setattr(
        Engine,
        "measure",
        lambda _, op, dtype, device, compiles: measured.append(
            (op.name, dtype, device.name, compiles)
        ),
    )
    answer_of(made, HANDSHAKE)
    assert measured == [(name, torch.float32, "cuda:0", False) for name in REGISTRY]


@pytest.mark.parametrize(
    ("error", "message"),
    [(RuntimeError(ILLEGAL + ADVICE), ILLEGAL), (KeyError(), "KeyError()")],
    ids=["CUDA", "no words"],
)
def test_a_device_that_cannot_begin(
    handler: DeviceRequestHandler, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    """The error has the first line of the reason, and the process ends."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Engine, "unmeasured", fail)
    with pytest.raises(FatalError) as caught:
        answer_of(handler, HANDSHAKE)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("error", "works", "raised", "words"),
    [
        (RuntimeError("CUDA error: invalid argument"), True, RuntimeError, "invalid"),
        (torch.AcceleratorError(ILLEGAL + ADVICE), False, FatalError, "illegal"),
        (DeviceFailedError("cuda:0 fails"), False, FatalError, "cuda:0 fails"),
        (RuntimeError("CUDA error: out of memory"), False, ExhaustedError, "^cuda:0 has not"),
        (torch.OutOfMemoryError("CUDA out of memory"), False, ExhaustedError, "^cuda:0 has not"),
        (RuntimeError("DefaultCPUAllocator: "), False, ExhaustedError, "^this host has not"),
        (MemoryError("Unable to allocate"), False, ExhaustedError, "^this host has not"),
    ],
    ids=["passes", "stays", "found", "CUDA", "torch", "host", "numpy"],
)
def test_errors_that_pass_and_those_that_stay(
    handler: DeviceRequestHandler,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: Exception,
    works: bool,
    raised: type[Exception],
    words: str,
) -> None:
    """A product is tried to find out which of the two it is; without memory, none is."""

    def fail(*_: object) -> None:
        raise error

    def check(_: Engine) -> None:
        if not works:
            raise DeviceFailedError("cuda:0 fails")

    monkeypatch.setattr(type(READERS["application/json"]), "decode", fail)
    monkeypatch.setattr(Engine, "check_devices", check)
    with pytest.raises(raised, match=words) as caught:
        answer_of(handler)
    assert "\n" not in str(caught.value)
