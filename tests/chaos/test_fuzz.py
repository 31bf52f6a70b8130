"""Valid requests, mutated at random: every response is an error or a correct result.

An input is given by a seed and a number: CHAOS_SEED and CHAOS_NUMBER repeat it.
CHAOS_SECONDS is how long each of the tests may run; a longer run takes a seed of its own.
"""

import asyncio
import os
import re
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from random import Random, SystemRandom
from typing import Final

from httpx import AsyncClient

from tests.chaos.hostile_request import post, shown
from tests.chaos.mutations import mutated
from tests.chaos.oracle import UNDECIDED, check_response
from tests.chaos.settings import IS_LONG, SECONDS
from tests.chaos.valid_requests import FORMATS, FuzzRequest, valid_request
from tests.rigs.apps import Serve
from tests.rigs.raw_http import received
from tests.rigs.servers import Server

SEED: Final = int(os.environ.get("CHAOS_SEED", SystemRandom().randrange(2**32) if IS_LONG else 0))
NUMBER: Final = os.environ.get("CHAOS_NUMBER")
ANSWERED_S: Final = 30
# However slow the host.
FEWEST: Final = 220
BATCH_SIZE: Final = 64
NAMES: Final = tuple(FORMATS)
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
# All that the contract has for one client: 308 is of a page's path with a slash too many.
ANSWERS: Final = {200, 204, 308, 400, 404, 405, 406, 408, 413, 415, 422, 431, 501}
SMALL: Final = {"max_elements": 2**16, "max_bytes": 2**24, "max_body_bytes": 2**20}


def changed(number: int) -> tuple[str, FuzzRequest]:
    """One input: the name of its format, and a request whose body was changed."""
    random = Random(f"{SEED}:{number}")
    name = NAMES[number % len(NAMES)]
    sent, other = valid_request(random, name), valid_request(random, name)
    body = mutated(random, sent.body, other.body)
    if sent.pack is not None:
        body = sent.pack(body)
    query = dict(sent.query)
    if query and random.random() < 0.1:
        query[random.choice([*query])] = mutated(random, b"[0,1]", b"ij->").decode("latin-1")
    path = sent.path
    if not path.startswith("/v2/") and random.random() < 0.1:
        path += "/plan"
    return name, replace(sent, path=path, body=body, query=query, pack=None)


def repeat_hint(number: int, name: str, sent: FuzzRequest) -> str:
    """Return the variables that repeat an input, and the input itself."""
    body = f"{sent.url} {sent.all_headers} {shown(sent.body)}"
    return f"CHAOS_SEED={SEED} CHAOS_NUMBER={number}: {name}: {body}"


async def test_mutated_bodies(serve: Serve) -> None:
    """In every format; results are compared with numpy if the reference parser reads the body."""
    counts: Counter[tuple[str, str]] = Counter()
    async with serve(**SMALL) as client:
        numbers = [int(NUMBER)] if NUMBER else range(10**9)
        end = time.monotonic() + SECONDS
        for number in numbers:
            name, sent = changed(number)
            try:
                counts[name, await answered(client, sent)] += 1
            except Exception as error:
                raise AssertionError(f"{error!r}\n{repeat_hint(number, name, sent)}") from error
            if number >= FEWEST and time.monotonic() > end:
                break
    print(f"\nseed {SEED}")  # shown with -s, and for a failure
    for name in NAMES:
        kinds = {kind: n for (each, kind), n in sorted(counts.items()) if each == name}
        print(f"{name}: {sum(kinds.values())} inputs, {kinds}")


async def answered(client: AsyncClient, sent: FuzzRequest) -> str:
    """Send a request, check the response and return what was checked."""
    coming = client.post(sent.url, content=sent.body, headers=sent.all_headers)
    response = await asyncio.wait_for(coming, ANSWERED_S)
    if sent.path.endswith("/plan") and response.status_code == 200:
        return UNDECIDED
    return check_response(sent, response)


def test_mutated_requests_over_a_socket(victim: Server) -> None:
    """Their heads are mutated as well; each gets a known status, or is no request at all."""
    random = Random(SEED)
    end = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < end:
        wires = [changed_wire(random) for _ in range(BATCH_SIZE)]
        with ExitStack() as stack:
            connections = [stack.enter_context(victim.connect(ANSWERED_S)) for _ in wires]
            for wire, connection in zip(wires, connections, strict=True):
                with suppress(ConnectionError):  # it answered before it had all
                    connection.sendall(wire)
            for wire, connection in zip(wires, connections, strict=True):
                data = received(connection)
                statuses = {int(status) for status in STATUS.findall(data)}
                known = statuses <= ANSWERS and (statuses or not wire.strip(b"\r\n"))
                assert known, f"CHAOS_SEED={SEED}: {shown(data)} to {shown(wire)}"
        count += len(wires)
        assert victim.is_healthy(), f"CHAOS_SEED={SEED}: after {count}"
    print(f"\nseed {SEED}: {count} requests over a socket")


def changed_wire(random: Random) -> bytes:
    """Return the bytes of a request, mutated in its head, its body or both."""
    sent, other = (valid_request(random, random.choice(NAMES)) for _ in range(2))
    body = sent.body if sent.pack is None else sent.pack(sent.body)
    if random.random() < 0.5:
        body = mutated(random, body, other.body)
    wire = post(sent.url, body, sent.all_headers)
    if random.random() < 0.5:
        return wire
    length = wire.index(b"\r\n\r\n") + 4
    return mutated(random, wire[:length], post(other.url, b"", other.all_headers)) + wire[length:]
