"""The clients: what is asked and read is told elsewhere, here httpx carries it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from time import sleep
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, Unpack

import httpx

from service.client import calls
from service.client import requests as asks
from service.client.answers import Answer, Operation, Plan, Report, Result, Row, Summary
from service.client.calls import Call
from service.client.errors import AnswerError
from service.client.patience import RetryBudget
from service.client.races import AsyncRace, Race
from service.client.requests import Ask, RaceOptions

URL: Final = "http://127.0.0.1:8000"
CONNECT_S: Final = 5.0
P = ParamSpec("P")
Value = TypeVar("Value")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


def _runs(
    build: Callable[P, Call[Result]],
) -> Callable[Concatenate["Client", P], Answer[Result]]:
    """A method that runs what `build` makes of its arguments."""

    @wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer[Result]:
        return self.run(build(*args, **kwargs))

    return method


def _runs_async(
    build: Callable[P, Call[Result]],
) -> Callable[Concatenate["AsyncClient", P], Awaitable[Answer[Result]]]:
    """The same for an AsyncClient."""

    @wraps(build)
    def method(
        self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[Answer[Result]]:
        return self.run(build(*args, **kwargs))

    return method


class _Settings(Generic[Http]):
    """Where the service is, how long to bear with it, and the httpx client that carries calls."""

    _make: type[Http]

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 3,
        patience_s: float = 30.0,
        http: Http | None = None,
    ):
        """Connect when the first call is made."""
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key is not None else {}
        self._timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._retries = retries
        self._patience_s = patience_s
        self._owned = http is None
        self._http: Http = self._make() if http is None else http

    def _request(self, ask: Ask[Any]) -> dict[str, Any]:
        """The request as httpx takes it."""
        return {
            "method": ask.method,
            "url": self.url + ask.path,
            "params": ask.params,
            "headers": ask.headers | self._headers,
            "content": ask.content,
            "timeout": self._timeout,
        }

    def _patience(self) -> RetryBudget:
        return RetryBudget(self._retries, self._patience_s)


class Client(_Settings[httpx.Client]):
    """The service, call by call. It may be used by several threads; `close` it, or use `with`.

    url          the service's address
    api_key      sent as `Authorization: Bearer`, where the operator asks for one
    timeout_s    the longest silence; work itself is bounded by `deadline_ms` and the service
    retries      how often a call is tried again that was turned away, or whose connection broke
    patience_s   the most seconds of waiting between the tries of one call
    http         an httpx client to use, for proxies and certificates; its owner closes it

    Every method may raise a ClientError; `service.client.errors` has the tree.
    """

    _make = httpx.Client

    matmul = _runs(calls.matmul)
    einsum = _runs(calls.einsum)
    norm = _runs(calls.norm)
    broadcast = _runs(calls.broadcast)

    def run(self, call: Call[Result]) -> Answer[Result]:
        """Compute a call; the result is of the kind of its first operand."""
        return self._send(asks.run(call))

    def summarize(self, call: Call[Any]) -> Answer[Summary]:
        """Compute a call, and tell of the result without sending it: extremes, norm, SHA-256."""
        return self._send(asks.summarize(call))

    def plan(self, call: Call[Any]) -> Plan:
        """What a call means and costs. Operands may be a `Shape`; of others no data are sent."""
        return self._send(asks.plan(call))

    def compare(self, call: Call[Any], **options: Unpack[RaceOptions]) -> Report:
        """Race the strategies of a call, and give the whole table."""
        return self._send(asks.compare(call, options))

    def race(self, call: Call[Any], **options: Unpack[RaceOptions]) -> Race:
        """The same race for a loop over its rows; it begins with the loop."""
        return Race(partial(self._receive, asks.compare(call, options)))

    def strategies(self) -> list[Operation]:
        """Every operation and strategy: summary, source, dtypes, and the work it may do there."""
        return self._send(asks.strategies())

    def get(self, path: str) -> Any:
        """Another document of the service, such as `/devices` or `/limits`."""
        return self._send(asks.get(path))

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        """Itself, which is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _send(self, ask: Ask[Value]) -> Value:
        values: list[Value] = []
        for _ in self._receive(ask, values.append):
            pass
        return values[0]

    def _receive(self, ask: Ask[Value], finish: Callable[[Value], None]) -> Iterator[Row]:
        """The rows that come before the value, which `finish` gets."""
        patience = self._patience()
        while True:
            context = None
            try:
                with self._http.stream(**self._request(ask)) as response:
                    context = ask.context(response.status_code, response.headers)
                    for chunk in response.iter_bytes():
                        yield from context.feed(chunk)
                finish(context.value())
                return
            except (httpx.RequestError, AnswerError) as error:
                begun = context is not None and context.begun
                pause_s = patience.pause_s(error, begun=begun)
            sleep(pause_s)


class AsyncClient(_Settings[httpx.AsyncClient]):
    """The same for asyncio; its arguments are those of a Client."""

    _make = httpx.AsyncClient

    matmul = _runs_async(calls.matmul)
    einsum = _runs_async(calls.einsum)
    norm = _runs_async(calls.norm)
    broadcast = _runs_async(calls.broadcast)

    async def run(self, call: Call[Result]) -> Answer[Result]:
        """Compute a call; the result is of the kind of its first operand."""
        return await self._send(asks.run(call))

    async def summarize(self, call: Call[Any]) -> Answer[Summary]:
        """Compute a call, and tell of the result without sending it: extremes, norm, SHA-256."""
        return await self._send(asks.summarize(call))

    async def plan(self, call: Call[Any]) -> Plan:
        """What a call means and costs. Operands may be a `Shape`; of others no data are sent."""
        return await self._send(asks.plan(call))

    async def compare(self, call: Call[Any], **options: Unpack[RaceOptions]) -> Report:
        """Race the strategies of a call, and give the whole table."""
        return await self._send(asks.compare(call, options))

    def race(self, call: Call[Any], **options: Unpack[RaceOptions]) -> AsyncRace:
        """The same race for a loop over its rows; it begins with the loop."""
        return AsyncRace(partial(self._receive, asks.compare(call, options)))

    async def strategies(self) -> list[Operation]:
        """Every operation and strategy: summary, source, dtypes, and the work it may do there."""
        return await self._send(asks.strategies())

    async def get(self, path: str) -> Any:
        """Another document of the service, such as `/devices` or `/limits`."""
        return await self._send(asks.get(path))

    async def close(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Itself, which is closed at the end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def _send(self, ask: Ask[Value]) -> Value:
        values: list[Value] = []
        async for _ in self._receive(ask, values.append):
            pass
        return values[0]

    async def _receive(
        self, ask: Ask[Value], finish: Callable[[Value], None]
    ) -> AsyncIterator[Row]:
        """The rows that come before the value, which `finish` gets."""
        patience = self._patience()
        while True:
            context = None
            try:
                async with self._http.stream(**self._request(ask)) as response:
                    context = ask.context(response.status_code, response.headers)
                    async for chunk in response.aiter_bytes():
                        for row in context.feed(chunk):
                            yield row
                finish(context.value())
                return
            except (httpx.RequestError, AnswerError) as error:
                begun = context is not None and context.begun
                pause_s = patience.pause_s(error, begun=begun)
            await asyncio.sleep(pause_s)
