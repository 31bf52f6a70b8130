"""Tasks in the background: their faults are logged."""

import asyncio

import pytest

from service.executors import run_in_background


async def test_a_fault_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A task that is done or cancelled is none."""
    goes_on = asyncio.Event()

    async def work(*, fails: bool) -> None:
        await goes_on.wait()
        if fails:
            raise ZeroDivisionError

    fine, failing, left = (
        run_in_background(work(fails=fails), f"task {number}")
        for number, fails in enumerate([False, True, True])
    )
    left.cancel()
    await asyncio.wait([left])
    goes_on.set()
    await asyncio.wait([fine, failing])
    (failed,) = caplog.records
    assert failed.getMessage() == "task 1 has ended by a fault"
    assert failed.exc_info is not None
    assert failed.exc_info[0] is ZeroDivisionError
