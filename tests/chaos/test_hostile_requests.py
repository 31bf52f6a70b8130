"""Each hostile request gets its status and its problem code, and does no harm."""

import socket
from contextlib import ExitStack, suppress
from typing import Final

import orjson
import pytest

from service.errors import MAX_DETAIL, MAX_PLACES, MAX_QUOTED
from tests.chaos.hostile_calls import CALL_RECORDS
from tests.chaos.hostile_files import FILE_RECORDS
from tests.chaos.hostile_http import HTTP_RECORDS
from tests.chaos.hostile_json import JSON_RECORDS
from tests.chaos.hostile_packed import PACKED_RECORDS
from tests.chaos.hostile_protocol import PROTOCOL_RECORDS
from tests.chaos.hostile_reports import REPORT_RECORDS
from tests.chaos.hostile_request import Hostile
from tests.rigs.raw_http import RawResponse, parse_responses, received
from tests.rigs.servers import Server

RECORDS: Final = (
    *JSON_RECORDS,
    *CALL_RECORDS,
    *FILE_RECORDS,
    *PACKED_RECORDS,
    *HTTP_RECORDS,
    *PROTOCOL_RECORDS,
    *REPORT_RECORDS,
)
FAMILIES: Final = sorted({record.family for record in RECORDS})
# More of them at once would only wait for each other.
BATCH_SIZE: Final = 32
# The first worker process takes some seconds to start on a host that does much else.
ANSWERED_S: Final = 30
MAX_PROBLEM_BYTES: Final = 16_384


def test_the_corpus_is_large() -> None:
    """It has over a thousand records, none of them twice."""
    assert len({record.wire for record in RECORDS}) == len(RECORDS) >= 1_000


@pytest.mark.parametrize("family", FAMILIES)
def test_hostile_requests_get_their_status(family: str, victim: Server) -> None:
    """They get their problem code as well, and the server is healthy afterwards."""
    records = [record for record in RECORDS if record.family == family]
    wrong = []
    for start in range(0, len(records), BATCH_SIZE):
        wrong += _wrong(records[start : start + BATCH_SIZE], victim)
    assert not wrong, "\n".join(wrong)
    assert victim.is_healthy()


def _wrong(records: list[Hostile], victim: Server) -> list[str]:
    with ExitStack() as stack:
        connections = []
        for record in records:
            connection = stack.enter_context(victim.connect(timeout_s=ANSWERED_S))
            connections.append(connection)
            with suppress(ConnectionError):  # it answered before it had all
                connection.sendall(record.wire)
        pairs = zip(records, connections, strict=True)
        return [text for record, connection in pairs if (text := _difference(record, connection))]


def _difference(record: Hostile, connection: socket.socket) -> str:
    """Describe what is wrong with the responses; empty if they are as expected."""
    try:
        found = parse_responses(received(connection))
        codes = {problem(answer, record.wire) for answer in found if answer.status >= 400}
    except TimeoutError:
        return f"no end, not {record.statuses}: {record}"
    except AssertionError as error:
        return f"{error}: {record}"
    statuses = tuple(answer.status for answer in found)
    if statuses != record.statuses or codes != ({record.code} if max(statuses) >= 400 else set()):
        bodies = [answer.body[:400] for answer in found[-2:]]
        return f"{statuses} {codes}, not {record.statuses} {record.code}: {record}\n    {bodies}"
    return ""


def problem(answer: RawResponse, request: bytes) -> str:
    """Return the code of an error, and assert that it is bounded and shows no internals."""
    assert len(answer.body) <= MAX_PROBLEM_BYTES
    for secret in (b"Traceback", b'.py"', b"site-packages"):
        assert secret not in answer.body
    document = orjson.loads(answer.body)
    if answer.headers["content-type"] == "application/json":  # of the Open Inference Protocol
        assert list(document) == ["error"]
        assert len(document["error"]) <= 2 * MAX_DETAIL + 20
        assert not repeats(document["error"], request)
        return ""
    assert answer.headers["content-type"] == "application/problem+json"
    code = document["code"]
    assert isinstance(code, str)
    assert document["type"] == f"/problems/{code}"
    assert document["status"] == answer.status
    assert document["instance"].startswith("urn:uuid:")
    places = document.get("errors", [])
    assert len(places) <= MAX_PLACES
    texts = [document["detail"], document.get("hint", "")]
    texts += [text for place in places for text in place.values()]
    for text in texts:
        assert len(text) <= MAX_DETAIL
        assert not repeats(text, request), text
    return code


def repeats(text: str, request: bytes) -> bool:
    """Return whether a text repeats more of a request than it may."""
    data = text.encode()
    length = MAX_QUOTED + 1
    return any(data[at : at + length] in request for at in range(len(data) - length + 1))
