"""The client, and its behaviour when the service is busy, silent, unreachable or another one."""

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

from tensor_service_client import (
    AnswerError,
    AsyncClient,
    Client,
    ClientError,
    InvalidArgumentError,
    ProblemError,
    Race,
    TimedOutError,
    UnexpectedAnswerError,
    UnreachableError,
    matmul,
    norm,
    problems,
)
from tensor_service_client.clients import RetryBudget
from tests.rigs.paths import ROOT

URL = "http://service.test/behind/a/proxy/"
ONE = np.ones((1, 1))
ROW = b'event: row\r\ndata: {"strategy":\r\ndata: "torch"}\r\n\r\n'
REPORT = b': racing\n\nevent: report\ndata: {"rows": []}\n\n'


def good(**changed: str) -> httpx.Response:
    """Return a result as the service sends it, with some headers changed."""
    envelope = {"op": "matmul", "strategy": "torch", "device": "cpu", "request_id": "1"}
    head = {
        "content-type": "application/octet-stream",
        "x-tensor-dtype": "float64",
        "x-tensor-shape": "1,1",
        "x-envelope": json.dumps(envelope),
    }
    return httpx.Response(200, headers=head | changed, content=ONE.tobytes())


def busy(code: str = "overloaded", status: int = 503, after: str = "0") -> httpx.Response:
    """Return a problem document with a `Retry-After`."""
    head = {"content-type": "application/problem+json", "retry-after": after, "x-request-id": "7"}
    document = {"status": status, "code": code, "detail": "all places are taken"}
    return httpx.Response(status, headers=head, content=json.dumps(document))


def stream(*events: bytes) -> httpx.Response:
    """Return server-sent events, one byte in each chunk."""
    head = {"content-type": "text/event-stream", "x-request-id": "7"}
    chunks = [bytes([each]) for each in b"".join(events)]
    return httpx.Response(200, headers=head, stream=Chunks(chunks))


@dataclass
class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in chunks, which may end in an error."""

    chunks: list[bytes]
    broken: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks."""
        yield from self.chunks
        if self.broken is not None:
            raise self.broken

    async def __aiter__(self) -> Any:
        """Yield the chunks."""
        for chunk in self:
            yield chunk


@dataclass
class Script:
    """Responses in order, the last one repeatedly, and the requests that were received."""

    answers: list[Callable[[], httpx.Response] | Exception]
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Return the next response."""
        self.seen.append(request)
        answer = self.answers[min(len(self.seen), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer()


Send = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest) -> Send:
    """Return a function that makes a call by either client."""

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
    """Make any call."""
    return client.matmul(ONE, ONE)


def race(client: Any, most: int | None = None) -> Any:
    """Return the rows of any race, at most so many, and the race."""
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
def test_temporary_failures_are_retried(send: Send, failure: Any) -> None:
    """The same request is sent again until it succeeds."""
    script = Script([failure, failure, good])
    assert send(script, product).result == ONE
    assert len({(each.url, each.content) for each in script.seen}) == 1
    assert len(script.seen) == 3


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (lambda: busy("shape-mismatch", 422), problems.ShapeMismatchError),
        (lambda: busy("deadline-exceeded", 504), problems.DeadlineExceededError),
        (lambda: busy("internal-error", 500), problems.InternalError),
        (lambda: busy("a-new-code", 422), ProblemError),
        (lambda: httpx.Response(502, text="<html>bad gateway"), UnexpectedAnswerError),
        (lambda: httpx.Response(301, headers={"location": "https://x"}), UnexpectedAnswerError),
        (httpx.ReadTimeout("slow"), TimedOutError),
        (httpx.UnsupportedProtocol("no scheme"), UnreachableError),
    ],
    ids=range(8),
)
def test_lasting_failures_are_raised_at_once(send: Send, failure: Any, kind: Any) -> None:
    """The error has its own class, which is a ClientError."""
    script = Script([failure])
    with pytest.raises(kind) as caught:
        send(script, product)
    assert isinstance(caught.value, ClientError)
    assert len(script.seen) == 1


def test_retries_are_limited(send: Send) -> None:
    """Tries and seconds are limited: then the last error is raised."""
    script = Script([busy])
    with pytest.raises(problems.OverloadedError) as caught:
        send(script, product, retries=2)
    assert len(script.seen) == 3
    assert isinstance(caught.value, AnswerError)
    assert (caught.value.status, caught.value.wait_s) == (503, 0.0)
    assert caught.value.request_id == "7"
    script = Script([lambda: busy(after="31")])
    with pytest.raises(problems.OverloadedError):
        send(script, product)
    assert len(script.seen) == 1


def test_waits_grow_and_are_never_shorter_than_asked() -> None:
    """Waits grow, follow `Retry-After`, and use up the seconds of the budget."""
    waits = []
    budget = RetryBudget(5, 30.0)
    for asked in (None, None, None, 2.0):
        error = UnexpectedAnswerError("busy")
        error.status, error.wait_s = 503, asked
        waits.append(budget.pause_s(error, begun=False))
    for wait, least in zip(waits, (0.1, 0.2, 0.4, 2.0), strict=True):
        assert least <= wait <= 1.25 * least
    assert budget.wait_s == pytest.approx(30 - sum(waits))


def test_timeouts_and_failures_name_the_request(send: Send) -> None:
    """The message has the request and the error of httpx; a timeout is a TimeoutError, too."""
    with pytest.raises(TimeoutError, match="POST http") as late:
        send(Script([httpx.ReadTimeout("")]), product)
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
def test_responses_of_other_services(send: Send, answer: Any) -> None:
    """A response of a captive portal, a proxy or another version is an UnexpectedAnswerError."""
    with pytest.raises(UnexpectedAnswerError):
        send(Script([answer]), product)


@pytest.mark.parametrize("body", ["[]", "{", '{"result": {"shape": [1]}}', '{"result": null}'])
def test_documents_of_other_services(send: Send, body: str) -> None:
    """JSON that is not an answer is an UnexpectedAnswerError."""
    answer = httpx.Response(200, headers={"content-type": "application/json"}, text=body)
    with pytest.raises(UnexpectedAnswerError):
        send(Script([lambda: answer]), lambda client: client.matmul([[1]], [[1]]))
    plan = httpx.Response(200, headers={"content-type": "application/json"}, text='[{"op": 1}]')
    with pytest.raises(UnexpectedAnswerError, match="another structure"):
        send(Script([lambda: plan]), lambda client: client.plan(norm([1])))
    with pytest.raises(UnexpectedAnswerError):
        send(Script([lambda: answer]), lambda client: client.gradients(matmul([[1]], [[1]])))


def test_a_race_comes_byte_by_byte(send: Send) -> None:
    """Events are found at any chunk size; comments are skipped."""
    script = Script([lambda: stream(ROW, REPORT)])
    rows, run = send(script, race)
    assert rows == [{"strategy": "torch"}]
    assert run.report == {"rows": []}
    assert send(script, lambda client: client.compare(norm(ONE))) == {"rows": []}


def test_a_race_begins_with_its_loop(send: Send) -> None:
    """A race begins with a loop, again with another loop, and its report is the last one."""
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
        send(script, twice)
    assert len(script.seen) == 2


def test_a_race_that_is_left_is_closed(send: Send) -> None:
    """The response is closed at once, so that the service ends the race; there is no report."""
    answer = stream(ROW, ROW, REPORT)
    rows, run = send(Script([lambda: answer]), lambda client: race(client, most=1))
    assert rows == [{"strategy": "torch"}]
    assert answer.is_closed
    with pytest.raises(RuntimeError, match="after the last of the rows"):
        _ = run.report


def test_a_race_that_was_begun_is_not_begun_again(send: Send) -> None:
    """A race is retried before its first row, and not afterwards."""
    broken = httpx.ReadError("reset")
    head = {"content-type": "text/event-stream"}
    script = Script([lambda: httpx.Response(200, headers=head, stream=Chunks([ROW], broken))])
    with pytest.raises(UnreachableError):
        send(script, race)
    assert len(script.seen) == 1
    script = Script(
        [
            lambda: httpx.Response(200, headers=head, stream=Chunks([b""], broken)),
            lambda: stream(ROW, REPORT),
        ]
    )
    assert send(script, race)[1].report == {"rows": []}


def test_a_race_may_end_in_a_problem_or_in_nothing(send: Send) -> None:
    """A busy problem within the stream is not retried either."""
    problem = b"event: problem\ndata: " + busy("out-of-memory").content + b"\n\n"
    script = Script([lambda: stream(problem)])
    with pytest.raises(problems.OutOfMemoryError) as caught:
        send(script, race)
    assert isinstance(caught.value, AnswerError)
    assert caught.value.request_id == "7"
    assert len(script.seen) == 1
    with pytest.raises(UnexpectedAnswerError, match="without a report"):
        send(Script([lambda: stream(ROW)]), race)


def test_a_key_is_sent_and_not_shown(send: Send) -> None:
    """A key is sent as a bearer token; without one, no header is sent."""
    script = Script([good])
    send(script, product, api_key="secret")
    send(script, product)
    assert script.seen[0].headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in script.seen[1].headers
    assert "secret" not in repr(Client(api_key="secret"))


def test_fields_are_sent_where_they_belong(send: Send) -> None:
    """Fields go into the query string, lists as JSON text; the prefix of a proxy is kept."""
    script = Script([good])
    send(script, lambda c: c.broadcast(ONE, ONE, op="add", views=[None, ":,:"], to=(1, 1)))
    sent = script.seen[0]
    assert sent.url.path == "/behind/a/proxy/broadcast"
    assert dict(sent.url.params) == {"op": "add", "views": '[null,":,:"]', "to": "[1,1]"}
    assert sent.headers["Content-Type"] == "application/x-safetensors"
    assert sent.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "operand", ["text", None, np.array(["a"]), [1j], np.ma.array([1])], ids=str
)
def test_invalid_operands_are_refused(send: Send, operand: Any) -> None:
    """An operand that cannot be sent exactly raises a ClientError before a request is sent."""
    script = Script([good])
    for method in ("run", "summarize", "plan", "compare"):
        with pytest.raises(InvalidArgumentError, match=r"call .* first"):
            send(script, lambda client, to=method: getattr(client, to)(matmul(operand, ONE)))
    assert script.seen == []


def test_a_problem_survives_a_pickle() -> None:
    """An error may come from another process."""
    with pytest.raises(problems.OverloadedError) as caught:
        Client(http=httpx.Client(transport=httpx.MockTransport(Script([busy])))).run(
            matmul(ONE, ONE)
        )
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)
    assert vars(again) == vars(caught.value)


def test_a_client_of_a_real_server(base_url: str) -> None:
    """All calls, also with megabytes, work over one TCP connection."""
    a = np.random.default_rng(0).standard_normal((700, 600))
    with Client(base_url) as client:
        np.testing.assert_allclose(client.matmul(a, a.T).result, a @ a.T, atol=1e-9)
        assert client.summarize(norm(a)).result["nan"] == 0
        assert client.plan(norm(a))["accepted"]
        np.testing.assert_allclose(
            client.gradients(matmul(a, a.T), a @ a.T)["a"].result, a @ a.T @ a
        )
        race = client.race(norm(a), repeat=1, strategies=["torch", "numpy"])
        assert len(list(race)) == len(race.report["rows"]) == 2
        assert "cpu" in [device.name for device in client.devices().devices]
        assert len(client.strategies()) == len({"matmul", "einsum", "norm", "broadcast"})
        assert client.get("/health/ready")["status"] == "ready"
        with pytest.raises(problems.ShapeMismatchError):
            client.matmul(a, a)


async def test_an_async_client_of_a_real_server(base_url: str) -> None:
    """Many calls run at once."""
    async with AsyncClient(base_url) as client:
        calls = [client.matmul(np.full((8, 8), i), np.eye(8, dtype=np.int64)) for i in range(50)]
        for i, answer in enumerate(await asyncio.gather(*calls)):
            assert (answer.result == i).all()


def test_a_silent_server_is_left(send: Send) -> None:
    """A server that accepts the connection and sends nothing is a TimedOutError."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout_s=0.2) as client, pytest.raises(TimedOutError):
            client.matmul(ONE, ONE)


@pytest.mark.parametrize("text", ["[]", "{}", '{"results": {"y": {"data": [1]}}}'])
def test_an_answer_to_another_chain(send: Send, text: str) -> None:
    """It lacks the results, or their bytes."""
    head = {"content-type": "application/json"}
    script = Script([lambda: httpx.Response(200, headers=head, content=text)])

    def call(client: Any) -> Any:
        chain = client.chain()
        return chain.run(chain.norm(ONE))

    with pytest.raises(UnexpectedAnswerError, match="the answer holds no such results"):
        send(script, call)


def test_a_server_that_is_not_there() -> None:
    """The message has the address."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with Client(url, retries=1) as client, pytest.raises(UnreachableError, match=url):
        client.get("/limits")


@pytest.mark.parametrize("number", range(4))
def test_the_page_of_the_client_runs(base_url: str, number: int) -> None:
    """Each Python block of docs/client.md runs by itself."""
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    code = blocks[number].replace("http://127.0.0.1:8000", base_url)
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert run.stdout


def test_lists_need_no_numpy(base_url: str) -> None:
    """Lists load only httpx and its dependencies; numpy is loaded with the first array."""
    code = f"""
import sys
from tensor_service_client import Client
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
