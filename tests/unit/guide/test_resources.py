"""Resources as pages: every field of the data is shown, and none as markup."""

from collections.abc import Mapping
from typing import Any

import pytest

from service.guide.frame import PageContent
from service.guide.resources import PAGES, page_of

STRATEGY = {
    "op": "norm",
    "name": "a_b",
    "summary": "Uses `x`.",
    "snippet": "def f():\n    return 1 < 2",
    "dtypes": {"cpu": ["float32", "int8"], "cuda": []},
    "available": False,
    "reason": "needs <b>",
    "work_limits": [{"device": "cpu", "ns": 1234.56789}, {"device": "x", "ns": 10559.6}],
}
OP = {"name": "norm", "summary": "S <i>.", "operands": ["x"], "auto": [], "strategies": [STRATEGY]}
PROBLEM = {"code": "a-b", "title": "T & <U>", "status": 404, "explanation": "Send `x`.\n\nTwice."}
DATA: Mapping[str, Any] = {
    "/strategies": [OP],
    "/devices": {
        "devices": [{"name": "cpu", "memory_bytes": 20_000, "ready": True, "peak": None, "n": {}}],
        "threads": 2,
    },
    "/limits": [{"name": "max_x", "value": 3, "setting": "S<i>X", "description": "Most *x*."}, {}],
    "/problems": [PROBLEM, PROBLEM | {"code": "b", "status": 400}],
    "/problems/{code}": PROBLEM,
}
SHOWN = {
    "/strategies": [
        '<h2 id="norm">norm</h2>',
        "S &lt;i&gt;.",
        "<dt>auto</dt><dd>",
        "<p>Uses <code>x</code>.</p>",
        "float32, int8",
        '<h3 id="norm-a_b">a_b</h3>',
        "<dt>available</dt><dd>no</dd>",
        "needs &lt;b&gt;",
        "<dt>work limits</dt>",
        "<dd>1,235</dd>",
        "<dd>10,560</dd>",
        '<span class="k">def</span>',
    ],
    "/devices": [
        '<h2 id="cpu">cpu</h2>',
        "20,000",
        "<dt>ready</dt><dd>yes</dd>",
        '<dt>n</dt><dd><span class="state">none</span></dd>',
        "<dt>threads</dt><dd>2</dd>",
    ],
    "/limits": ["<code>max_x</code>", "<code>S&lt;i&gt;X</code>", "<em>x</em>", "<td>3</td>"],
    "/problems": ['<a href="../problems/a-b"><code>a-b</code></a>', "T &amp; &lt;U&gt;"],
    "/problems/{code}": [
        "<h1>T &amp; &lt;U&gt;</h1>",
        "<dt>code</dt><dd><code>a-b</code></dd>",
        "<dt>status</dt><dd>404</dd>",
        "<p>Twice.</p>",
        '<a href="../guide/errors#a-b">',
    ],
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_the_data(path: str) -> None:
    """Names, numbers, nothing, and fields in fields; a page of its own title."""
    content = page_of(path, DATA[path], "x/y")
    assert isinstance(content, PageContent)
    for part in SHOWN[path]:
        assert part in content.html, part
    assert "<b>" not in content.html
    assert "<i>" not in content.html


def test_problems_are_ordered_by_status() -> None:
    """As on the page of errors."""
    html = page_of("/problems", DATA["/problems"], "problems").html
    assert html.index("problems/b") < html.index("problems/a-b")
    assert "explanation" not in html


def test_operations_are_the_contents() -> None:
    """With a heading for each, and for each strategy."""
    content = page_of("/strategies", [OP, OP | {"name": "z"}], "strategies")
    anchors = [heading.anchor for heading in content.headings]
    assert anchors == ["norm", "norm-a_b", "z", "z-a_b"]


def test_a_new_field_is_a_new_column() -> None:
    """Nothing of the data is left out because a page does not know it."""
    html = page_of("/limits", [{"name": "x"}, {"name": "y", "new_field": [1, 2]}], "limits").html
    assert '<th scope="col">new field</th>' in html
    assert "1, 2" in html
