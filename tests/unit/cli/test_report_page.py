"""Tests of the data in the pages of races and sweeps; tests/browser opens them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.cli.against import read_report
from service.cli.report_page import race_page, sweep_page
from service.compare import CompareOptions
from service.http.serializers import report_answer
from tests.unit.cli.reports import ABSENT, GPU, NO_GPU, QUICK, SLOW, UNABLE, report, sweep

MAX_BYTES = 200_000


def data_of(page: str) -> dict[str, Any]:
    """Return the data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_of_a_race() -> None:
    """It has the report as `--json` prints it, its tolerances, and the source of each strategy."""
    race = report(SLOW, QUICK, GPU, UNABLE, *ABSENT)
    page = race_page(race, "a <race>", "the table", CompareOptions(rtol=0.5))
    assert len(page.encode()) < MAX_BYTES
    assert "<title>a &lt;race&gt;</title>" in page
    assert '<noscript><pre class="scroll">the table</pre></noscript>' in page
    data = data_of(page)
    assert data["report"] == report_answer(race).model_dump(mode="json", exclude_unset=True)
    assert data["tolerance"] == {"rtol": 0.5, "atol": 1e-5}
    assert data["kept"] is None
    found = {each["name"]: each for each in data["strategies"]}
    assert list(found) == ["loops", "torch", "dot", "cuda", "numba", "triton"]
    assert "for i in range" in found["loops"]["snippet"]
    assert [found[name]["available"] for name in found] == [True] * 3 + [False] * 3
    assert found["cuda"]["reason"] == NO_GPU


def test_the_page_of_a_chain() -> None:
    """A strategy of a chain has the source of each operation that has it."""
    page = race_page(replace(report(SLOW, QUICK), op="chain"), "", "", CompareOptions())
    loops, _ = data_of(page)["strategies"]
    assert loops["snippet"].count("def loops(") > 1


def test_a_kept_report_in_the_page(tmp_path: Path) -> None:
    """It has the rows that ran."""
    race = report(SLOW, QUICK, UNABLE)
    path = tmp_path / "kept.json"
    path.write_text(report_answer(race).model_dump_json(exclude_unset=True), encoding="utf-8")
    kept = data_of(race_page(race, "", "", CompareOptions(), read_report(str(path))))["kept"]
    assert kept["name"] == "kept.json"
    assert [row["strategy"] for row in kept["report"]["rows"]] == ["loops", "torch"]


def test_the_page_of_a_sweep() -> None:
    """It has the report of each size, and the limit of a run."""
    data = data_of(sweep_page(sweep(), "a sweep", "", CompareOptions(), limit_ns=10**9))
    assert [point["size"] for point in data["points"]] == [2, 4]
    assert [len(point["report"]["rows"]) for point in data["points"]] == [4, 4]
    assert (data["limit_ms"], data["ended"]) == (1000, None)
    assert data["kept"] == [None, None]
