"""Races and sweeps as pictures: a page that needs no network, or an image. Drawn by Altair."""

from service.charts.files import write_html, write_png
from service.charts.race import race_chart
from service.charts.style import Chart
from service.charts.sweep import sweep_chart

__all__ = ["Chart", "race_chart", "sweep_chart", "write_html", "write_png"]
