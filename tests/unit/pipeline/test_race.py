"""Races as requests, on a thread: their rows, their report and their end."""

import asyncio
import json
from dataclasses import replace
from time import sleep
from typing import Any

import pytest

from service.codecs import READERS
from service.compare import Race
from service.errors import DeadlineExceededError, InvalidFieldError
from service.pipeline.dispatch import dispatch, prepare
from service.pipeline.race import RaceRequest
from service.pipeline.request import Negotiated
from service.pipeline.service import Service
from tests.rigs.waiting import until

FIELDS: dict[str, Any] = {"a": [[1, 2]], "b": [[3], [4]], "repeat": 2, "device": "cpu"}
WORKERS: Any = object()


def begin(service: Service, query: bytes = b"", **fields: object) -> RaceRequest:
    """Return the race of a small product."""
    op, reader = service.engine.registry["matmul"], READERS["application/json"]
    race = RaceRequest(Negotiated(service, op, reader, headers=(None,) * 4), "mine")
    race.start(json.dumps(FIELDS | fields).encode(), query)
    return race


@pytest.mark.parametrize("emits", [True, False])
async def test_a_race(service: Service, emits: bool) -> None:
    """Rows are emitted in the event loop as strategies finish; the report has them all."""
    race = begin(service, b"baseline=loops", strategies=["loops", "torch"])
    await prepare(race)
    rows: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()

    def emit(row: bytes | bytearray | memoryview) -> None:
        assert asyncio.get_running_loop() is loop
        rows.append(json.loads(bytes(row)))

    if emits:
        race.emit = emit
    response = await dispatch(race)
    report = json.loads(b"".join(response.chunks))
    assert (response.status, report["baseline"]) == (200, "loops")
    assert [(row["strategy"], row["runs"]) for row in report["rows"]] == [
        ("loops", 2),
        ("torch", 2),
    ]
    await asyncio.sleep(0)
    assert {row["strategy"] for row in rows} == ({"loops", "torch"} if emits else set())
    assert (race.executor, race.strategy, race.is_over) == ("thread", "", True)


async def test_an_error_comes_before_the_race(service: Service) -> None:
    """A race is prepared on a thread, so that a stream of it need not begin."""
    with pytest.raises(InvalidFieldError):
        await prepare(begin(service, repeat=0))


async def test_a_late_race_ends(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has twice the deadline of a call; then it is stopped, and its thread is free."""
    service.settings = service.settings.model_copy(update={"deadline_ms": 100})
    race = begin(service, strategies=["loops"], repeat=1000, budget_ms=60_000)
    assert race.left_ms == 200
    await prepare(race)
    found = Race.run

    def slow(self: Race, stop: Any, bench_of: Any) -> Any:
        while not stop():
            sleep(0.01)
        yield from found(self, stop, bench_of)

    monkeypatch.setattr(Race, "run", slow)
    with pytest.raises(DeadlineExceededError):
        await dispatch(race)
    await until(lambda: not service.race_threads.active_calls)


async def test_long_text_is_decoded_in_the_process(service: Service) -> None:
    """Any other is decoded here first, so that its errors come before a stream."""
    assert begin(service).choose_executor() is service.race_threads
    service.race_pool = WORKERS
    service.context = replace(service.context, max_slow_bytes=2**20)
    for body, is_slow in (
        ({}, False),
        ({"a": [[1, 2]] * 200_000}, False),
        ({"a": [[1, "NaN"]] + [[1, 2]] * 200_000}, True),
    ):
        race = begin(service, **body)
        for _ in range(2):
            await prepare(race)
            assert (race.is_slow_text, race.is_prepared) == (is_slow, not is_slow)
        assert race.choose_executor() is WORKERS


def test_a_message_to_the_process(service: Service) -> None:
    """It states whether rows are wanted."""
    race = begin(service, b"repeat=3")
    message = race.message()
    assert (message.op, message.query, message.request_id) == ("matmul", "repeat=3", "mine")
    assert message.streams is False
    race.emit = print
    assert race.message().streams is True
