"""Tests of reports of races as they are shown and drawn."""

import sys
from typing import Any

import pytest

from tensor_service_client.races import Report, Row, labels
from tests.unit.client.documents import LOOPS, REPORT, SKIPPED, TF32, TORCH, WRONG


def test_a_report() -> None:
    """Rows that ran, then what was skipped, what is wrong, and what the figures come from."""
    lines = repr(Report(REPORT)).splitlines()
    assert lines[0] == "race of matmul: 5×784 and 784×10, float32"
    assert [line.split() for line in lines[3:6]] == [
        ["loops", "910", "ms", "-", "baseline", "1", "in", "20,000", "0", "0", "yes"],
        ["torch", "5.64", "us", "1.00", "us", "162,000×", "-", "1.90e-06", "0.5", "fastest"],
        ["fast", "1.00", "us", "1.00", "us", "-", "-", "infinite", "infinite", "NO"],
    ]
    assert lines[6:] == [
        "skipped cuda, triton: needs a GPU",
        "fast disagrees in 2 elements, most at [1, 0]",
        "50 of 50 elements checked by exact arithmetic",
        "A processor, 2 threads, torch 2",
    ]
    assert max(map(len, lines)) <= 100


def test_a_report_in_html() -> None:
    """The fastest is bold."""
    html = Report(REPORT)._repr_html_()
    assert html.index(">loops<") < html.index("font-weight:bold") < html.index(">torch<")


def test_a_report_without_results() -> None:
    """Nothing ran, so that nothing is fastest or was checked."""
    found = Report(REPORT | {"rows": [SKIPPED], "reference": None})
    assert found.fastest is None
    assert "checked" not in repr(found)
    assert "bold" not in found._repr_html_()


def test_a_number_that_disagrees() -> None:
    """It has no index."""
    row = WRONG | {"worst": [], "disagreeing": 1}
    assert "fast disagrees in 1 elements\n" in repr(Report(REPORT | {"rows": [row]}))


def test_a_result_that_disagrees() -> None:
    """A race of a chain names it."""
    row = WRONG | {"worst": [1, 0], "worst_result": "y"}
    assert "most at [1, 0] in y\n" in repr(Report(REPORT | {"rows": [row]}))


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([LOOPS, TORCH | {"device": "cuda:0"}], ["loops on cpu", "torch on cuda:0"]),
        ([TF32 | {"precision": "ieee"}, TF32], ["torch in ieee", "torch in tf32"]),
        ([LOOPS, TF32], ["loops on cpu", "torch on cuda:0 in tf32"]),
        ([TF32, TF32 | {"strategy": "fast"}], ["torch", "fast"]),
    ],
    ids=["devices", "precisions", "both", "neither"],
)
def test_labels(rows: list[dict[str, Any]], names: list[str]) -> None:
    """A strategy has its device and its precision where rows differ in them."""
    assert labels([*map(Row, rows)]) == names


def test_copies() -> None:
    """They have columns if a row has any."""
    rows = [LOOPS | {"device": "cuda:0", "precision": "tf32"}, TF32]
    lines = [line.split() for line in repr(Report(REPORT | {"rows": rows})).splitlines()]
    assert lines[1][3:7] == ["speed-up", "upload", "download", "of"]
    assert lines[3][4:7] == ["baseline", "-", "-"]
    assert lines[4][5:9] == ["162,000×", "12.0", "us", "-"]
    downloaded = Report(REPORT | {"rows": [TF32 | {"upload_ms": 0.0, "download_ms": 1.0}]})
    assert "download" in repr(downloaded)
    none = [LOOPS | {"upload_ms": 0.0, "download_ms": 0.0}, SKIPPED | {"upload_ms": None}]
    assert "upload" not in repr(Report(REPORT | {"rows": none}))


def test_titles() -> None:
    """They have the fields of the call, but not the steps of a chain."""
    params = {"equation": "ij,jk->ik", "optimize": [[0, 1]], "steps": [{}]}
    report = Report(REPORT | {"op": "einsum", "params": params})
    assert report.title.startswith("race of einsum ij,jk->ik optimize=[[0, 1]]: 5×784 and")


def test_a_chart() -> None:
    """A mark for each row that ran, the slowest first."""
    chart: dict[str, Any] = Report(REPORT).plot().to_dict()
    values = chart["layer"][0]["data"]["values"] if "data" not in chart else chart["data"]["values"]
    assert [(each["strategy"], each["state"]) for each in values] == [
        ("loops", "agrees"),
        ("torch", "fastest"),
        ("fast", "disagrees"),
    ]
    assert values[1]["time"] == "5.64 us, 162,000×"
    assert chart["title"] == "race of matmul: 5×784 and 784×10, float32"
    points, texts = chart["layer"]
    assert (points["mark"]["type"], texts["mark"]["type"]) == ("point", "text")
    assert points["encoding"]["x"]["scale"] == {"type": "log"}
    assert points["encoding"]["y"]["sort"] == ["loops", "torch", "fast"]
    assert points["encoding"]["shape"]["field"] == "state"
    assert points["encoding"]["color"]["scale"]["domain"] == ["fastest", "agrees", "disagrees"]
    assert len(points["encoding"]["tooltip"]) == 3


def test_a_chart_of_several_devices() -> None:
    """Marks have the names of the rows."""
    chart: dict[str, Any] = Report(REPORT | {"rows": [LOOPS, TF32]}).plot().to_dict()
    order = chart["layer"][0]["encoding"]["y"]["sort"]
    assert order == ["loops on cpu", "torch on cuda:0 in tf32"]


def test_a_chart_without_altair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package."""
    monkeypatch.delitem(sys.modules, "tensor_service_client.plots", raising=False)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ModuleNotFoundError, match="pip install altair"):
        Report(REPORT).plot()
