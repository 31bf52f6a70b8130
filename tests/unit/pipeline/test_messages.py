"""Messages between the server and other processes: JSON and back."""

from dataclasses import replace
from typing import Any

import pytest

from service.core.response import HttpResponse
from service.core.timing import QUEUE, Stopwatch
from service.pipeline.messages import (
    Admitted,
    WorkerRequest,
    WrongDeviceError,
    headers_from,
    response_from,
    response_head,
    texts_of,
)

MESSAGE = WorkerRequest("matmul", [None] * 4, "", "mine", Stopwatch.start().marks)


def test_a_request_is_read_as_it_was_written() -> None:
    """All of its fields, but for tuples of marks and curves, which JSON does not have."""
    marks: Any = [[*mark] for mark in MESSAGE.marks]
    curves: Any = [["matmul", "loops", "cpu", "float32", 1.5, 0.0]]
    race = replace(MESSAGE, streams=True, absences={"cuda:0": ("it died", 3)}, curves=curves)
    race = replace(race, with_tf32=["cuda:0"])
    assert WorkerRequest.from_json(race.to_json()) == replace(race, marks=marks)
    for admitted in (None, Admitted("loops", "cpu", 5)):
        call = replace(MESSAGE, headers=[None, "gzip", "é", ""], query="a=%20&ü", admitted=admitted)
        for version in ("", "auto"):
            call = replace(call, version=version)
            assert WorkerRequest.from_json(call.to_json()) == replace(call, marks=marks)


def test_headers_are_read_as_they_were_written() -> None:
    """Each byte is a letter; headers that were not sent are left out again."""
    names = (b"content-type", b"accept", b"x")
    texts = texts_of((b"application/json", None, b"\xe9\x00"))
    assert texts == ["application/json", None, "é\x00"]
    assert headers_from(names, texts) == {b"content-type": b"application/json", b"x": b"\xe9\x00"}


def test_a_response_is_read_as_it_was_written() -> None:
    """Its headers are bytes, some of them no ASCII; marks and phases come along."""
    response = HttpResponse(503, b"retry-after: 1\r\nx: \xe9\x00\r\n", (b"some", b"thing"), 9)
    watch = Stopwatch.start()
    watch.lap(QUEUE)
    watch.stop()
    head = response_head(response, watch, "loops")
    found, theirs, strategy = response_from(head, bytearray(b"something"))
    assert (found.status, found.headers) == (response.status, response.headers)
    assert [tuple(mark) for mark in theirs.marks] == watch.marks
    assert (theirs.phases, strategy) == (watch.phases, "loops")
    assert (b"".join(found.chunks), found.length) == (b"something", 9)


@pytest.mark.parametrize("deadline_ms", [None, 900])
def test_a_plan_for_another_device_is_raised_again(deadline_ms: int | None) -> None:
    """The error has the plan, the deadline that the call states, and the marks."""
    sent = WrongDeviceError(Admitted("torch", "cuda:0", 7), deadline_ms, MESSAGE.marks)
    with pytest.raises(WrongDeviceError, match="cuda:0 has a process of its own") as caught:
        response_from(sent.to_json(), bytearray())
    found = caught.value
    assert (found.admitted, found.deadline_ms) == (sent.admitted, deadline_ms)
    assert [tuple(mark) for mark in found.marks] == MESSAGE.marks
