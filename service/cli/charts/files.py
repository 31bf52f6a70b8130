"""Files of charts: HTML pages and PNG images."""

import json
from html import escape
from pathlib import Path
from typing import Final

import altair as alt
import vl_convert

from service.cli.charts.style import Chart

PAGE_TEMPLATE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 2rem; color: #222; background: #fff; font-family: sans-serif; }}
#chart {{ overflow-x: auto; }}
pre {{ overflow-x: auto; font-size: 0.85rem; line-height: 1.25; }}
</style>
</head>
<body>
<div id="chart"><noscript>A script draws the picture; the table has its figures.</noscript></div>
<pre>{table}</pre>
<script>{script}</script>
<script>vegaEmbed("#chart", {chart}, {options});</script>
</body>
</html>
"""
# The menu saves the chart; the entries that send it to another site are left out.
EMBED_OPTIONS: Final = {
    "renderer": "svg",
    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
}


def write_png(chart: Chart, path: Path) -> None:
    """Write the chart as a PNG at twice its size, for screens of high resolution."""
    chart.save(str(path), format="png", scale_factor=2)


def write_html(chart: Chart, path: Path, title: str, table: str) -> None:
    """Write a page with the chart and its table; the file loads nothing else."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    page = PAGE_TEMPLATE.format(
        title=escape(title),
        table=escape(table),
        script=script.replace("</script", "<\\/script"),
        chart=json.dumps(chart.to_dict()).replace("</", "<\\/"),
        options=json.dumps(EMBED_OPTIONS),
    )
    path.write_text(page, encoding="utf-8")
