"""Images of races and sweeps, drawn by Altair."""

from service.cli.charts.overlay import overlay_chart
from service.cli.charts.race import race_chart
from service.cli.charts.style import Chart, write_png
from service.cli.charts.sweep import sweep_chart

__all__ = ["Chart", "overlay_chart", "race_chart", "sweep_chart", "write_png"]
