"""Clients for threads and for asyncio: they send requests by httpx, and retry them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from time import sleep
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, Unpack

import httpx

from tensor_service_client import calls, requests
from tensor_service_client.answers import Answer, ChainAnswer, Gradients, Result, Summary
from tensor_service_client.arrays import Operand
from tensor_service_client.calls import Call, Options
from tensor_service_client.catalog import Devices, Operations
from tensor_service_client.chain import Chain
from tensor_service_client.errors import AnswerError, TimedOutError, UnreachableError
from tensor_service_client.plans import Plan
from tensor_service_client.progress import Progress, shown
from tensor_service_client.races import AsyncRace, Race, Report, Row
from tensor_service_client.requests import PreparedRequest, RaceOptions

URL: Final = "http://127.0.0.1:8000"
CONNECT_S: Final = 5.0
BUSY: Final = (429, 503)
# Without a `Retry-After`; doubled each time.
FIRST_WAIT_S: Final = 0.1
P = ParamSpec("P")
Value = TypeVar("Value")
HttpClient = TypeVar("HttpClient", httpx.Client, httpx.AsyncClient)


def _runs(
    build: Callable[P, Call[Result]],
) -> Callable[Concatenate["Client", P], Answer[Result]]:
    """Return a method that runs the call that `build` makes of its arguments."""

    @wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer[Result]:
        return self.run(build(*args, **kwargs))

    return method


def _runs_async(
    build: Callable[P, Call[Result]],
) -> Callable[Concatenate["AsyncClient", P], Awaitable[Answer[Result]]]:
    """Return the same method for an AsyncClient."""

    @wraps(build)
    def method(
        self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[Answer[Result]]:
        return self.run(build(*args, **kwargs))

    return method


@dataclass(slots=True)
class RetryBudget:
    """Retries and seconds of waiting that are left for one call.

    All calls are pure computations, so that a retry is safe.
    """

    retries: int
    wait_s: float
    tried: int = 0

    def pause_s(self, error: httpx.RequestError | AnswerError, *, begun: bool) -> float:
        """Return the seconds to wait before the next try, or raise the error of the call.

        A busy service is tried again after its `Retry-After`, and so is a connection that failed.
        Not tried again are errors that would recur, timeouts, and a race whose rows have `begun`
        to be used.
        """
        asked = error.wait_s if isinstance(error, AnswerError) else None
        pause = FIRST_WAIT_S * 2**self.tried if asked is None else asked
        # Clients that were refused together should not return together.
        pause *= random.uniform(1, 1.25)  # noqa: S311  # spreads clients, keeps no secret
        self.tried += 1
        self.wait_s -= pause
        if not begun and _may_pass(error) and self.tried <= self.retries and self.wait_s >= 0:
            return pause
        if isinstance(error, AnswerError):
            raise error
        kind = TimedOutError if isinstance(error, httpx.TimeoutException) else UnreachableError
        request = error.request
        raise kind(
            f"{request.method} {request.url}: {str(error) or type(error).__name__}"
        ) from error


def _may_pass(error: httpx.RequestError | AnswerError) -> bool:
    """Return whether the next try may succeed."""
    if isinstance(error, AnswerError):
        return error.status in BUSY
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


class _BaseClient(Generic[HttpClient]):
    """Address of the service, timeouts and retries, and the httpx client that sends requests."""

    _make: type[HttpClient]

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 3,
        patience_s: float = 30.0,
        http: HttpClient | None = None,
    ):
        """Store the settings; the first call connects."""
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key is not None else {}
        self._timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._retries = retries
        self._patience_s = patience_s
        self._owns_http = http is None
        self._http: HttpClient = self._make() if http is None else http

    def _request(self, request: PreparedRequest[Any]) -> dict[str, Any]:
        """Return the arguments of the request for httpx."""
        return {
            "method": request.method,
            "url": self.url + request.path,
            "params": request.params,
            "headers": request.headers | self._headers,
            "content": request.content,
            "timeout": self._timeout,
        }

    def _retry_budget(self) -> RetryBudget:
        """Return the retries of one call."""
        return RetryBudget(self._retries, self._patience_s)


class Client(_BaseClient[httpx.Client]):
    """Client of the service, for one or several threads. Close it with `close` or `with`.

    url          address of the service
    api_key      sent as `Authorization: Bearer`, if the service needs a key
    timeout_s    longest time without data; `deadline_ms` and the service bound the work itself
    retries      number of retries of a call that was refused as busy, or whose connection broke
    patience_s   seconds of waiting between the tries of one call, in all
    http         an httpx client to use, for proxies and certificates; its owner closes it

    Every method may raise a ClientError; `tensor_service_client.errors` has the tree of errors.
    """

    _make = httpx.Client

    matmul = _runs(calls.matmul)
    einsum = _runs(calls.einsum)
    norm = _runs(calls.norm)
    broadcast = _runs(calls.broadcast)

    def run(self, call: Call[Result]) -> Answer[Result]:
        """Compute a call; the result is of the kind of its first operand."""
        return self._send(requests.run(call))

    def summarize(self, call: Call[Any]) -> Answer[Summary]:
        """Compute a call, and return statistics of the result: extremes, norm, SHA-256."""
        return self._send(requests.summarize(call))

    def gradients(self, call: Call[Result], upstream: "Operand | None" = None) -> Gradients[Result]:
        """Compute the gradient of each operand of a product or an einsum, from one of the result.

        Without `upstream` they are those of the sum of the result.
        """
        return self._send(requests.gradients(call, upstream))

    def plan(self, call: Call[Any]) -> Plan:
        """Plan a call: shape, dtype and cost. Operands may be a `Shape`; no data is sent."""
        return self._send(requests.plan(call))

    def compare(
        self, call: Call[Any], *, progress: Progress = None, **options: Unpack[RaceOptions]
    ) -> Report:
        """Race the strategies of a call, and return the report.

        A notebook shows rows as they finish, a terminal with `progress=True`; a function gets them.
        """
        race = self.race(call, **options)
        with shown(f"race of {call.op}", progress) as show:
            for row in race:
                show(row)
        return race.report

    def race(self, call: Call[Any], **options: Unpack[RaceOptions]) -> Race:
        """Return a race to iterate over row by row; it begins with the loop."""
        return Race(partial(self._receive, requests.compare(call, options)))

    def chain(self, **options: Unpack[Options]) -> Chain[ChainAnswer]:
        """Return a chain without steps, which its methods add; `run` sends it."""
        return Chain(lambda call: self._send(requests.run_chain(call)), options)

    def strategies(self) -> Operations:
        """Return every operation and its strategies: summary, source, dtypes, limits of work."""
        return self._send(requests.strategies())

    def devices(self) -> Devices:
        """Return the devices of the service's host."""
        return self._send(requests.devices())

    def get(self, path: str) -> Any:
        """Return another document of the service as it is, such as `/limits`."""
        return self._send(requests.get(path))

    def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        """Return the client, which is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def _send(self, request: PreparedRequest[Value]) -> Value:
        """Return the value of the response."""
        values: list[Value] = []
        list(self._receive(request, values.append))  # the value comes last; there are no rows
        return values[0]

    def _receive(
        self, request: PreparedRequest[Value], finish: Callable[[Value], None]
    ) -> Iterator[Row]:
        """Yield the rows that arrive before the value, which is passed to `finish`."""
        budget = self._retry_budget()
        while True:
            reader = None
            try:
                with self._http.stream(**self._request(request)) as response:
                    reader = request.reader(response.status_code, response.headers)
                    for chunk in response.iter_bytes():
                        yield from reader.feed(chunk)
                finish(reader.value())
                return
            except (httpx.RequestError, AnswerError) as error:
                begun = reader is not None and reader.begun
                pause_s = budget.pause_s(error, begun=begun)
            sleep(pause_s)


class AsyncClient(_BaseClient[httpx.AsyncClient]):
    """Client of the service for asyncio, with the arguments of `Client`."""

    _make = httpx.AsyncClient

    matmul = _runs_async(calls.matmul)
    einsum = _runs_async(calls.einsum)
    norm = _runs_async(calls.norm)
    broadcast = _runs_async(calls.broadcast)

    async def run(self, call: Call[Result]) -> Answer[Result]:
        """Compute a call; the result is of the kind of its first operand."""
        return await self._send(requests.run(call))

    async def summarize(self, call: Call[Any]) -> Answer[Summary]:
        """Compute a call, and return statistics of the result: extremes, norm, SHA-256."""
        return await self._send(requests.summarize(call))

    async def gradients(
        self, call: Call[Result], upstream: "Operand | None" = None
    ) -> Gradients[Result]:
        """Compute the gradient of each operand of a product or an einsum, from one of the result.

        Without `upstream` they are those of the sum of the result.
        """
        return await self._send(requests.gradients(call, upstream))

    async def plan(self, call: Call[Any]) -> Plan:
        """Plan a call: shape, dtype and cost. Operands may be a `Shape`; no data is sent."""
        return await self._send(requests.plan(call))

    async def compare(
        self, call: Call[Any], *, progress: Progress = None, **options: Unpack[RaceOptions]
    ) -> Report:
        """Race the strategies of a call, and return the report.

        A notebook shows rows as they finish, a terminal with `progress=True`; a function gets them.
        """
        race = self.race(call, **options)
        with shown(f"race of {call.op}", progress) as show:
            async for row in race:
                show(row)
        return race.report

    def race(self, call: Call[Any], **options: Unpack[RaceOptions]) -> AsyncRace:
        """Return a race to iterate over row by row; it begins with the loop."""
        return AsyncRace(partial(self._receive, requests.compare(call, options)))

    def chain(self, **options: Unpack[Options]) -> Chain[Awaitable[ChainAnswer]]:
        """Return a chain without steps, which its methods add; `run` sends it."""
        return Chain(lambda call: self._send(requests.run_chain(call)), options)

    async def strategies(self) -> Operations:
        """Return every operation and its strategies: summary, source, dtypes, limits of work."""
        return await self._send(requests.strategies())

    async def devices(self) -> Devices:
        """Return the devices of the service's host."""
        return await self._send(requests.devices())

    async def get(self, path: str) -> Any:
        """Return another document of the service as it is, such as `/limits`."""
        return await self._send(requests.get(path))

    async def close(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def _send(self, request: PreparedRequest[Value]) -> Value:
        """Return the value of the response."""
        values: list[Value] = []
        _ = [row async for row in self._receive(request, values.append)]
        return values[0]

    async def _receive(
        self, request: PreparedRequest[Value], finish: Callable[[Value], None]
    ) -> AsyncIterator[Row]:
        """Yield the rows that arrive before the value, which is passed to `finish`."""
        budget = self._retry_budget()
        while True:
            reader = None
            try:
                async with self._http.stream(**self._request(request)) as response:
                    reader = request.reader(response.status_code, response.headers)
                    async for chunk in response.aiter_bytes():
                        for row in reader.feed(chunk):
                            yield row
                finish(reader.value())
                return
            except (httpx.RequestError, AnswerError) as error:
                begun = reader is not None and reader.begun
                pause_s = budget.pause_s(error, begun=begun)
            await asyncio.sleep(pause_s)
