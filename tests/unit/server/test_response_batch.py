"""The wait for the next request, without sleep and without end."""

import asyncio
from itertools import count

import pytest

from service.server.fast_request import FastRequest, ResponseBatch


class Quiet(FastRequest):
    """A request that takes no time."""

    def __init__(self, *, answered: bool = True) -> None:
        """Be answered at once, or by somebody else."""
        self.response_complete = answered

    def answer(self) -> None:
        """Do nothing."""

    def send(self) -> None:
        """Do nothing."""


async def turns(number: int) -> None:
    """So many turns of the event loop, which would sleep in none of them."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("again", "read"),
    [pytest.param(False, 6, id="once"), pytest.param(True, 11, id="again after three turns")],
)
async def test_the_loop_goes_on_until_the_time_is_over(again: bool, read: int) -> None:
    """Each reading of the clock takes ten nanoseconds; each answer begins the time anew."""
    ticks = count(0, 10)
    turn = ResponseBatch(50, ticks.__next__)
    turn.add(Quiet(), asyncio.get_running_loop())
    await turns(3)
    if again:
        turn.add(Quiet(), asyncio.get_running_loop())
    await turns(20)
    assert next(ticks) == 10 * read


async def test_the_loop_may_sleep_at_once() -> None:
    """With no time to wait, the clock is read for the answer and once more."""
    ticks = count(0, 10)
    turn = ResponseBatch(0, ticks.__next__)
    turn.add(Quiet(), asyncio.get_running_loop())
    turn.add(Quiet(), asyncio.get_running_loop())
    await turns(20)
    assert next(ticks) == 20


@pytest.mark.parametrize("answered", [[False], [True, False], [False, True]])
async def test_the_loop_sleeps_while_another_computes(answered: list[bool]) -> None:
    """It would take that one's core."""
    ticks = count(0, 10)
    turn = ResponseBatch(50, ticks.__next__)
    for each in answered:
        turn.add(Quiet(answered=each), asyncio.get_running_loop())
    await turns(20)
    assert next(ticks) == 10
