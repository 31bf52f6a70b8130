"""The client where the service is not itself: busy, silent, gone, or not there at all."""

import asyncio
import json
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from service import errors
from service.client import (
    AnswerError,
    AsyncClient,
    Client,
    ClientError,
    ProblemError,
    Race,
    TimedOutError,
    UnexpectedAnswerError,
    UnreachableError,
    matmul,
    norm,
)
from service.client.patience import RetryBudget
from tests.rigs.paths import ROOT
from tests.rigs.servers import serving

URL = "http://service.test/behind/a/proxy/"
ONE = np.ones((1, 1))
ROW = b'event: row\r\ndata: {"strategy":\r\ndata: "torch"}\r\n\r\n'
REPORT = b': racing\n\nevent: report\ndata: {"rows": []}\n\n'


def good(**changed: str) -> httpx.Response:
    """A result as the service sends it, but for what is changed."""
    envelope = {"op": "matmul", "strategy": "torch", "device": "cpu", "request_id": "1"}
    head = {
        "content-type": "application/octet-stream",
        "x-tensor-dtype": "float64",
        "x-tensor-shape": "1,1",
        "x-envelope": json.dumps(envelope),
    }
    return httpx.Response(200, headers=head | changed, content=ONE.tobytes())


def busy(code: str = "overloaded", status: int = 503, after: str = "0") -> httpx.Response:
    """A problem document that says when to come back."""
    head = {"content-type": "application/problem+json", "retry-after": after, "x-request-id": "7"}
    document = {"status": status, "code": code, "detail": "all places are taken"}
    return httpx.Response(status, headers=head, content=json.dumps(document))


def stream(*events: bytes) -> httpx.Response:
    """Server-sent events, each byte for itself."""
    head = {"content-type": "text/event-stream", "x-request-id": "7"}
    chunks = [bytes([each]) for each in b"".join(events)]
    return httpx.Response(200, headers=head, stream=Chunks(chunks))


@dataclass
class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes bit by bit, and may break at its end."""

    chunks: list[bytes]
    broken: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Its chunks."""
        yield from self.chunks
        if self.broken is not None:
            raise self.broken

    async def __aiter__(self) -> Any:
        """The same."""
        for chunk in self:
            yield chunk


@dataclass
class Script:
    """Answers in turn, and what was asked; the last one is given for ever."""

    answers: list[Callable[[], httpx.Response] | Exception]
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        self.seen.append(request)
        answer = self.answers[min(len(self.seen), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer()


Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Makes a call of either client."""

    def sync(script: Script, call: Callable[[Client], Any], **settings: Any) -> Any:
        http = httpx.Client(transport=httpx.MockTransport(script))
        with http, Client(URL, http=http, **settings) as client:
            return call(client)

    def run(script: Script, call: Callable[[AsyncClient], Any], **settings: Any) -> Any:
        async def main() -> Any:
            http = httpx.AsyncClient(transport=httpx.MockTransport(script))
            async with http, AsyncClient(URL, http=http, **settings) as client:
                return await call(client)

        return asyncio.run(main())

    return sync if request.param == "sync" else run


def product(client: Any) -> Any:
    """A call of no interest."""
    return client.matmul(ONE, ONE)


def race(client: Any, most: int | None = None) -> Any:
    """The rows of a race of no interest, at most so many, and the race."""
    run = client.race(norm(ONE))
    if isinstance(run, Race):
        return [row for row, _ in zip(run, range(most or 9), strict=False)], run

    async def rows() -> Any:
        seen = []
        async for row in run:
            seen.append(row)
            if len(seen) == most:
                break
        return seen, run

    return rows()


@pytest.mark.parametrize(
    "failure",
    [
        busy,
        lambda: busy("rate-limited", 429),
        lambda: busy("draining", after="soon"),
        lambda: httpx.Response(503, text="<html>no upstream"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.ReadError("reset"),
    ],
    ids=range(7),
)
def test_what_passes_is_tried_again(ask: Ask, failure: Any) -> None:
    """The same request, until it is answered."""
    script = Script([failure, failure, good])
    assert ask(script, product).result == ONE
    assert len({(each.url, each.content) for each in script.seen}) == 1
    assert len(script.seen) == 3


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (lambda: busy("shape-mismatch", 422), errors.ShapeMismatchError),
        (lambda: busy("deadline-exceeded", 504), errors.DeadlineExceededError),
        (lambda: busy("internal-error", 500), errors.InternalError),
        (lambda: busy("a-new-code", 422), ProblemError),
        (lambda: httpx.Response(502, text="<html>bad gateway"), UnexpectedAnswerError),
        (lambda: httpx.Response(301, headers={"location": "https://x"}), UnexpectedAnswerError),
        (httpx.ReadTimeout("slow"), TimedOutError),
        (httpx.UnsupportedProtocol("no scheme"), UnreachableError),
    ],
    ids=range(8),
)
def test_what_would_fail_again_is_raised_at_once(ask: Ask, failure: Any, kind: Any) -> None:
    """By its own class, which is a ClientError."""
    script = Script([failure])
    with pytest.raises(kind) as caught:
        ask(script, product)
    assert isinstance(caught.value, ClientError)
    assert len(script.seen) == 1


def test_patience_has_an_end(ask: Ask) -> None:
    """In tries, and in seconds: the last refusal is raised, as it came."""
    script = Script([busy])
    with pytest.raises(errors.OverloadedError) as caught:
        ask(script, product, retries=2)
    assert len(script.seen) == 3
    assert isinstance(caught.value, AnswerError)
    assert (caught.value.status, caught.value.wait_s) == (503, 0.0)
    assert caught.value.request_id == "7"
    script = Script([lambda: busy(after="31")])
    with pytest.raises(errors.OverloadedError):
        ask(script, product)
    assert len(script.seen) == 1


def test_waits_grow_and_are_never_shorter_than_asked() -> None:
    """And all of them together are within the patience."""
    waits = []
    patience = RetryBudget(5, 30.0)
    for asked in (None, None, None, 2.0):
        error = UnexpectedAnswerError("busy")
        error.status, error.wait_s = 503, asked
        waits.append(patience.pause_s(error, begun=False))
    for wait, least in zip(waits, (0.1, 0.2, 0.4, 2.0), strict=True):
        assert least <= wait <= 1.25 * least
    assert patience.wait_s == pytest.approx(30 - sum(waits))


def test_timeouts_and_failures_name_the_request(ask: Ask) -> None:
    """And keep what httpx had to say; a timeout is a TimeoutError, too."""
    with pytest.raises(TimeoutError, match="POST http") as late:
        ask(Script([httpx.ReadTimeout("")]), product)
    assert "ReadTimeout" in str(late.value)
    assert isinstance(late.value.__cause__, httpx.ReadTimeout)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(200, text="<html>welcome"),
        lambda: good(**{"x-envelope": "{"}),
        lambda: good(**{"x-tensor-shape": "two"}),
        lambda: good(**{"x-tensor-shape": "1,2"}),
        lambda: good(**{"x-tensor-dtype": "float8"}),
        lambda: good(**{"content-type": ""}),
        lambda: httpx.Response(
            400, headers={"content-type": "application/problem+json"}, text="{}"
        ),
        lambda: httpx.Response(400, headers={"content-type": "application/problem+json"}, text="["),
    ],
    ids=range(8),
)
def test_an_answer_of_something_else_is_said_to_be_one(ask: Ask, answer: Any) -> None:
    """A captive portal, a proxy that drops headers, another version."""
    with pytest.raises(UnexpectedAnswerError):
        ask(Script([answer]), product)


@pytest.mark.parametrize("body", ["[]", "{", '{"result": {"shape": [1]}}', '{"result": null}'])
def test_a_document_of_something_else_is_said_to_be_one(ask: Ask, body: str) -> None:
    """JSON, and yet no answer."""
    answer = httpx.Response(200, headers={"content-type": "application/json"}, text=body)
    with pytest.raises(UnexpectedAnswerError):
        ask(Script([lambda: answer]), lambda client: client.matmul([[1]], [[1]]))


def test_a_race_comes_byte_by_byte(ask: Ask) -> None:
    """Events are found whatever the network made of them; comments are none."""
    script = Script([lambda: stream(ROW, REPORT)])
    rows, run = ask(script, race)
    assert rows == [{"strategy": "torch"}]
    assert run.report == {"rows": []}
    assert ask(script, lambda client: client.compare(norm(ONE))) == {"rows": []}


def test_a_race_begins_with_its_loop(ask: Ask) -> None:
    """Not before, and again with another loop; its report is that of the last one."""
    script = Script([lambda: stream(ROW, REPORT), lambda: stream(ROW)])

    def twice(client: Any) -> Any:
        run = client.race(norm(ONE))
        assert script.seen == []
        if isinstance(run, Race):
            return list(run), run.report, list(run)

        async def rows() -> Any:
            return [row async for row in run], run.report, [row async for row in run]

        return rows()

    with pytest.raises(UnexpectedAnswerError, match="without a report"):
        ask(script, twice)
    assert len(script.seen) == 2


def test_a_race_that_is_left_is_closed(ask: Ask) -> None:
    """At once, so that the service ends it; there is no report."""
    answer = stream(ROW, ROW, REPORT)
    rows, run = ask(Script([lambda: answer]), lambda client: race(client, most=1))
    assert rows == [{"strategy": "torch"}]
    assert answer.is_closed
    with pytest.raises(RuntimeError, match="after the last of the rows"):
        _ = run.report


def test_a_race_that_was_begun_is_not_begun_again(ask: Ask) -> None:
    """Its rows were handed on; before the first one, it may be."""
    broken = httpx.ReadError("reset")
    head = {"content-type": "text/event-stream"}
    script = Script([lambda: httpx.Response(200, headers=head, stream=Chunks([ROW], broken))])
    with pytest.raises(UnreachableError):
        ask(script, race)
    assert len(script.seen) == 1
    script = Script(
        [
            lambda: httpx.Response(200, headers=head, stream=Chunks([b""], broken)),
            lambda: stream(ROW, REPORT),
        ]
    )
    assert ask(script, race)[1].report == {"rows": []}


def test_a_race_may_end_in_a_problem_or_in_nothing(ask: Ask) -> None:
    """A busy problem within the stream is not tried again either."""
    problem = b"event: problem\ndata: " + busy("out-of-memory").content + b"\n\n"
    script = Script([lambda: stream(problem)])
    with pytest.raises(errors.OutOfMemoryError) as caught:
        ask(script, race)
    assert isinstance(caught.value, AnswerError)
    assert caught.value.request_id == "7"
    assert len(script.seen) == 1
    with pytest.raises(UnexpectedAnswerError, match="without a report"):
        ask(Script([lambda: stream(ROW)]), race)


def test_a_key_is_sent_and_not_shown(ask: Ask) -> None:
    """As a bearer token; without one, no header is sent."""
    script = Script([good])
    ask(script, product, api_key="secret")
    ask(script, product)
    assert script.seen[0].headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in script.seen[1].headers
    assert "secret" not in repr(Client(api_key="secret"))


def test_fields_are_sent_where_they_belong(ask: Ask) -> None:
    """Beside bytes in the query string, lists as JSON text; the prefix of a proxy is kept."""
    script = Script([good])
    ask(script, lambda c: c.broadcast(ONE, ONE, op="add", views=[None, ":,:"], to=(1, 1)))
    sent = script.seen[0]
    assert sent.url.path == "/behind/a/proxy/broadcast"
    assert dict(sent.url.params) == {"op": "add", "views": '[null,":,:"]', "to": "[1,1]"}
    assert sent.headers["Content-Type"] == "application/x-safetensors"
    assert sent.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("operand", "words"),
    [("text", "is a str"), (None, "NoneType"), (np.array(["a"]), "no dtype str"), ({}, "dict")],
    ids=str,
)
def test_what_is_no_tensor_is_refused_here(operand: Any, words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(TypeError, match=words):
        Client().run(matmul(operand, ONE))


def test_a_problem_survives_a_pickle() -> None:
    """It may come from another process."""
    with pytest.raises(errors.OverloadedError) as caught:
        Client(http=httpx.Client(transport=httpx.MockTransport(Script([busy])))).run(
            matmul(ONE, ONE)
        )
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)
    assert vars(again) == vars(caught.value)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The address of a real server."""
    with serving() as url:
        yield url


def test_a_client_of_a_real_server(base_url: str) -> None:
    """Over TCP, one connection for all calls, megabytes too."""
    a = np.random.default_rng(0).standard_normal((700, 600))
    with Client(base_url) as client:
        np.testing.assert_allclose(client.matmul(a, a.T).result, a @ a.T, atol=1e-9)
        assert client.summarize(norm(a)).result["nan"] == 0
        assert client.plan(norm(a))["accepted"]
        race = client.race(norm(a), repeat=1, strategies=["torch", "numpy"])
        assert len(list(race)) == len(race.report["rows"]) == 2
        assert len(client.strategies()) == len({"matmul", "einsum", "norm", "broadcast"})
        assert client.get("/health/ready")["status"] == "ready"
        with pytest.raises(errors.ShapeMismatchError):
            client.matmul(a, a)


async def test_an_async_client_of_a_real_server(base_url: str) -> None:
    """Many calls at once."""
    async with AsyncClient(base_url) as client:
        calls = [client.matmul(np.full((8, 8), i), np.eye(8, dtype=np.int64)) for i in range(50)]
        for i, answer in enumerate(await asyncio.gather(*calls)):
            assert (answer.result == i).all()


def test_a_silent_server_is_left(ask: Ask) -> None:
    """It took the connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout_s=0.2) as client, pytest.raises(TimedOutError):
            client.matmul(ONE, ONE)


def test_a_server_that_is_not_there() -> None:
    """The message says where it was looked for."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with Client(url, retries=1) as client, pytest.raises(UnreachableError, match=url):
        client.get("/limits")


@pytest.mark.parametrize("number", range(3))
def test_the_page_of_the_client_runs(base_url: str, number: int) -> None:
    """Each Python block of docs/client.md by itself."""
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    code = blocks[number].replace("http://127.0.0.1:8000", base_url)
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert run.stdout


def test_lists_need_no_numpy(base_url: str) -> None:
    """Nor anything but httpx and what it brings; numpy is loaded with the first array."""
    code = f"""
import sys
from service.client import Client
with Client({base_url!r}) as client:
    print(client.matmul([[1, 2], [3, 4]], [[5, 6], [7, 8]]).result)
heavy = {{"numpy", "torch", "fastapi", "starlette", "uvicorn", "pydantic", "orjson"}}
print(sorted(heavy & sys.modules.keys()))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.splitlines() == ["[[19.0, 22.0], [43.0, 50.0]]", "[]"]
