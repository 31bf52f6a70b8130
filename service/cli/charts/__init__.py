"""Charts of races and sweeps by Altair, as an HTML page that needs no network or as an image."""

from service.cli.charts.files import write_html, write_png
from service.cli.charts.overlay import overlay_chart
from service.cli.charts.race import race_chart
from service.cli.charts.style import Chart
from service.cli.charts.sweep import sweep_chart

__all__ = ["Chart", "overlay_chart", "race_chart", "sweep_chart", "write_html", "write_png"]
