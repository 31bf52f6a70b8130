"""Several strategies on the same inputs: how fast and how exact each is."""

from service.compare.options import PARAMS, CompareOptions
from service.compare.race import Race, enter
from service.compare.report import Report, Row

__all__ = ["PARAMS", "CompareOptions", "Race", "Report", "Row", "enter"]
