"""What the owner of a device does with a request, run in this process; its device is the CPU."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import orjson
import pytest
import torch

from service.codecs import READERS
from service.core.timing import Stopwatch
from service.engine import Engine
from service.errors import DeviceFailedError
from service.executors import HANDSHAKE, Channel, FatalError, WorkerResponse
from service.operations import REGISTRY
from service.pipeline.device_worker import DeviceRequestHandler, make
from service.pipeline.messages import Admitted, WorkerRequest, response_from
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.device_processes import GPU, ILLEGAL, rates_of

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
TASK = WorkerRequest(
    "matmul",
    (None, None, None, None),
    "",
    "mine",
    Stopwatch.start().marks,
    admitted=Admitted("torch", "cuda:0", 100),
)


@pytest.fixture
def owner(cost_model: CostModel) -> DeviceRequestHandler:
    """That of a GPU."""
    row = asdict(replace(GPU, has_process=False, torch_device="cpu"))
    known = [*cost_model.to_rows(), *rates_of(GPU)]
    made = make(settings=Settings().model_dump(mode="json"), rates=known, device=row)
    assert isinstance(made, DeviceRequestHandler)
    return made


def asked(owner: DeviceRequestHandler, head: bytes = TASK.to_json()) -> WorkerResponse:
    """What it makes of a product."""
    return owner.answer(head, bytearray(BODY), Channel(print, print))


def document(answer: WorkerResponse) -> Mapping[str, Any]:
    """The JSON of a reply."""
    reply, _, _ = response_from(answer.head, bytearray(b"".join(answer.chunks)))
    found: Mapping[str, Any] = orjson.loads(b"".join(reply.chunks))
    return found


def test_a_call(owner: DeviceRequestHandler) -> None:
    """It is computed on the device, by the strategy that was planned."""
    answer = document(asked(owner))
    assert answer["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
    assert (answer["device"], answer["strategy"]) == ("cuda:0", "torch")
    owner.trim_memory()


def test_a_report(owner: DeviceRequestHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has rates of every strategy in every dtype that the device takes, and of it alone."""
    report = orjson.loads(asked(owner, HANDSHAKE).head)
    assert (report["description"], report["memory_bytes"]) == ("", None)
    pairs = {tuple(row[:4]) for row in report["rates"]}
    assert pairs == {row[:4] for row in rates_of(GPU)}
    expected = sum(len(s.cuda) for op in REGISTRY.values() for s in op.strategies.values())
    assert len(report["rates"]) == len(pairs) == expected


@pytest.mark.parametrize(
    ("error", "told"),
    [(RuntimeError(ILLEGAL), ILLEGAL.partition("\n")[0]), (KeyError(), "KeyError()")],
    ids=["CUDA", "no words"],
)
def test_a_device_that_cannot_begin(
    owner: DeviceRequestHandler, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    """The first line of the reason is told, and the process ends."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Engine, "measure_device", fail)
    with pytest.raises(FatalError) as caught:
        asked(owner, HANDSHAKE)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("error", "works", "told"),
    [
        (RuntimeError("CUDA error: invalid argument"), True, RuntimeError),
        (torch.AcceleratorError(ILLEGAL), False, FatalError),
        (RuntimeError("CUDA error: out of memory"), False, MemoryError),
    ],
    ids=["passes", "stays", "memory"],
)
def test_errors_that_pass_and_those_that_stay(
    owner: DeviceRequestHandler,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    works: bool,
    told: type[Exception],
) -> None:
    """Which of the two it is shows at the next product; without memory, none is tried."""

    def fail(*_: object) -> None:
        raise error

    def check(_: Engine) -> None:
        if not works:
            raise DeviceFailedError("cuda:0 fails")

    monkeypatch.setattr(type(READERS["application/json"]), "decode", fail)
    monkeypatch.setattr(Engine, "check_devices", check)
    with pytest.raises(told) as caught:
        asked(owner)
    assert "\n" not in str(caught.value)
