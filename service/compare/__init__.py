"""Comparison of strategies on the same inputs, by speed and by agreement with float64."""

from service.compare.options import PARAMS, CompareOptions
from service.compare.race import Race, prepare_race
from service.compare.report import Report, Row

__all__ = ["PARAMS", "CompareOptions", "Race", "Report", "Row", "prepare_race"]
