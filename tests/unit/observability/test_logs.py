"""Lines of the log: their fields, and that no part of a body is in them."""

import json
import logging
from collections.abc import Iterator
from io import StringIO
from logging.config import dictConfig
from typing import Any

import pytest

from service.executors import WorkerFaultError
from service.observability.logs import FIELDS, JsonFormatter, TextFormatter, log_config
from service.settings import Settings
from tests.rigs.apps import Serve

SECRET = 73519.25
PRODUCT: dict[str, Any] = {"a": [[1, SECRET], [3, 4]], "b": [[5, 6], [7, 8]]}


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    """Return an event of 2026-11-24T08:00:00.125Z."""
    made = logging.LogRecord("service", logging.INFO, "file.py", 1, message, args, None)
    made.created = 1795507200.125
    if fields:
        setattr(made, FIELDS, fields)
    return made


def test_a_line_of_text() -> None:
    """It has time, level, logger and message, then the values by name."""
    line = TextFormatter().format(record("GET %s", "/limits", request_id="r-1", total_ms=0.5))
    assert line == ("2026-11-24T08:00:00.125Z INFO service GET /limits request_id=r-1 total_ms=0.5")


def test_a_line_of_json() -> None:
    """It is one JSON object without a line break, whatever the message."""
    line = JsonFormatter().format(record("a\nb", request_id="r-1", total_ms=0.5))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-24T08:00:00.125Z",
        "level": "info",
        "logger": "service",
        "message": "a\nb",
        "request_id": "r-1",
        "total_ms": 0.5,
    }


def failed() -> logging.LogRecord:
    """Return an event with an exception and its cause, which both have a value in their text."""
    error = ValueError(f"no {SECRET}")
    try:
        dict[float, str]()[SECRET]
    except KeyError as cause:
        error.__cause__ = cause
    found = record("request r-1 failed")
    found.exc_info = (type(error), error, None)
    return found


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_is_logged_without_its_text(formatter: logging.Formatter) -> None:
    """Its files, lines and types are logged; its message may repeat an element."""
    line = formatter.format(failed())
    assert "test_logs.py" in line
    assert "ValueError" in line
    assert "KeyError" in line
    assert str(SECRET) not in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_fault_of_a_worker_has_the_frames_of_its_process(formatter: logging.Formatter) -> None:
    """Without them the log would end where the server has received the fault."""
    found = record("request r-1 failed")
    error = WorkerFaultError('  File "strategies.py", line 7, in loops\nZeroDivisionError')
    found.exc_info = (type(error), error, None)
    line = formatter.format(found).replace("\\n", "\n").replace('\\"', '"')
    assert f"WorkerFaultError\n{error.trace}" in line


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Iterator[StringIO]:
    """The log that is configured by these settings; the loggers are restored afterwards."""
    settings = Settings.model_validate(request.param)
    names = ("", "service", "service.requests", "uvicorn", "uvicorn.error")
    before = {name: (logging.getLogger(name).level, [*logging.getLogger(name).handlers])
              for name in names}  # fmt: skip
    written = StringIO()
    config = log_config(settings)
    config["handlers"]["stderr"]["stream"] = written
    dictConfig(config)
    yield written
    for name, (level, handlers) in before.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers = handlers


def each(lines: StringIO) -> list[dict[str, Any]]:
    """Return the events that were written as JSON."""
    return [json.loads(line) for line in lines.getvalue().splitlines()]


AS_JSON = {"log_format": "json", "log_level": "info"}


@pytest.mark.parametrize("lines", [AS_JSON], indirect=True)
async def test_each_request_is_a_line(lines: StringIO, serve: Serve) -> None:
    """The line has its id, method, path, status and phases."""
    async with serve() as client:
        headers = {"X-Request-Id": "r-1"}
        answer = await client.post("/matmul", json=PRODUCT, headers=headers)
        await client.get("/limits?x=1", headers={"X-Request-Id": "r-2"})
        await client.get("/a%0Ab", headers={"X-Request-Id": "r-3"})
    events = {event["request_id"]: event for event in each(lines) if "request_id" in event}
    assert events["r-1"]["message"] == "POST /matmul 200"
    assert events["r-1"]["logger"] == "service.requests"
    assert (events["r-1"]["op"], events["r-1"]["strategy"]) == ("matmul", "torch")
    assert events["r-1"]["executor"] in ("inline", "thread")
    for name, value in answer.json()["timing"].items():
        if name.endswith("_ms"):
            assert events["r-1"][name] == pytest.approx(value)
    assert events["r-2"]["message"] == "GET /limits 200"
    assert events["r-2"]["total_ms"] > 0
    assert events["r-3"]["message"] == "GET /a\\nb 404"


@pytest.mark.parametrize("lines", [AS_JSON | {"log_level": "debug"}], indirect=True)
async def test_no_line_has_anything_of_a_body(lines: StringIO, serve: Serve) -> None:
    """This holds for any body, answered or refused, at the finest level."""
    bodies = [
        json.dumps(PRODUCT),
        json.dumps(PRODUCT | {"dtype": str(SECRET)}),
        json.dumps({"a": [[SECRET], [1, 2]], "b": [1]}),
        json.dumps({"a": [SECRET, "x"], "b": [1, 2]}),
        f'{{"a": {SECRET},',
        f"{SECRET}",
        json.dumps({"a": [SECRET] * 30_000, "b": [1] * 30_000}),
        json.dumps({"a": [SECRET] * 300_000, "b": [1]}),
    ]
    async with serve(max_body_bytes=1_000_000) as client:
        for body in bodies:
            for verb in ("", "/plan", "/compare"):
                await client.post(f"/matmul{verb}", content=body)
    assert len(each(lines)) >= 3 * len(bodies)
    assert str(SECRET) not in lines.getvalue()


@pytest.mark.parametrize("lines", [{}], indirect=True)
async def test_by_default_the_log_is_quiet(lines: StringIO, serve: Serve) -> None:
    """Successes and errors of clients are not logged; failures of the service are."""
    async with serve() as client:
        await client.post("/matmul", json=PRODUCT)
        await client.post("/matmul", json={})
        await client.get("/nothing")
        assert lines.getvalue() == ""
        app = client._transport.app  # type: ignore[attr-defined]  # httpx names no type for it
        app.state.service.state = "draining"
        assert (await client.get("/health/ready")).status_code == 503
        assert lines.getvalue() == ""
        await client.post("/matmul", json=PRODUCT, headers={"X-Request-Id": "r-1"})
        app.state.service.state = "ready"
    assert "WARNING service.requests POST /matmul 503 request_id=r-1" in lines.getvalue()
