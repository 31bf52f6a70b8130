"""Timing: disjoint phases that add up, the same in body and header."""

import re
from typing import Any

import pytest
import torch
from httpx import AsyncClient

from tests.rigs.apps import Serve

PHASES = ("decode", "queue", "upload", "compile", "compute", "download", "encode")
SMALL: dict[str, Any] = {"a": [[1, 2]], "b": [[3], [4]]}
ROWS = [[0.5] * 100] * 100
CALLS = {
    "tiny, inline": SMALL,
    "by loops": {"a": [[1] * 30] * 30, "b": [[1] * 30] * 30, "strategy": "loops"},
    "a long body": {"a": ROWS * 2, "b": ROWS},
}


@pytest.mark.parametrize("body", CALLS.values(), ids=CALLS)
async def test_phases_add_up(client: AsyncClient, body: dict[str, Any]) -> None:
    """Their sum is the total, within 5 % or 0.1 ms; none is negative."""
    timing = (await client.post("/matmul", json=body)).json()["timing"]
    phases = [timing[f"{phase}_ms"] for phase in PHASES]
    assert min(phases) >= 0
    assert timing["total_ms"] > 0
    assert abs(sum(phases) - timing["total_ms"]) <= max(0.1, 0.05 * timing["total_ms"])
    assert set(timing) == {
        *(f"{phase}_ms" for phase in (*PHASES, "total")),
        "threads",
        "warm",
        "executor",
    }


@pytest.mark.parametrize("body", CALLS.values(), ids=CALLS)
async def test_the_header_says_what_the_body_says(
    client: AsyncClient, body: dict[str, Any]
) -> None:
    """`Server-Timing` has each phase and the total, in milliseconds."""
    response = await client.post("/matmul", json=body)
    header = response.headers["Server-Timing"]
    found = {name: float(value) for name, value in re.findall(r"(\w+);dur=([0-9.e-]+)", header)}
    timing = response.json()["timing"]
    assert set(found) == {*PHASES, "total"}
    for phase, value in found.items():
        assert value == pytest.approx(timing[f"{phase}_ms"], rel=1e-4, abs=1e-6)


async def test_the_first_run_is_not_warm(serve: Serve) -> None:
    """It is stated for each strategy and dtype."""
    async with serve() as client:
        for body in (SMALL, SMALL | {"dtype": "float64"}, SMALL | {"strategy": "numpy"}):
            first = (await client.post("/matmul", json=body)).json()
            second = (await client.post("/matmul", json=body)).json()
            assert (first["timing"]["warm"], second["timing"]["warm"]) == (False, True)


async def test_the_threads_are_told(client: AsyncClient) -> None:
    """The number is that of one product; GET /devices has the same."""
    timing = (await client.post("/matmul", json=SMALL)).json()["timing"]
    assert timing["threads"] == torch.get_num_threads()
    assert (await client.get("/devices")).json()["threads"] == timing["threads"]
