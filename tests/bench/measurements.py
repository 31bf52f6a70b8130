"""Medians with their spread, and a description of the machine."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median, quantiles

from threadpoolctl import threadpool_info

from service.compare.report import cpu_name


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of rounds, and the range of their middle half relative to it."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median round."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """Interquartile range over the median; 0 for a round alone."""
        if len(self.values) == 1:
            return 0.0
        low, _, high = quantiles(self.values, n=4)
        return (high - low) / self.median

    def __str__(self) -> str:
        """The median, and half the middle half in percent."""
        shown = f"{self.median:,.0f}" if self.median >= 1000 else f"{self.median:.4g}"
        return f"{shown} ± {50 * self.spread:.0f} %"


def machine(*more: str) -> str:
    """Processor, cores and versions; those of `more` packages too, and numpy's BLAS kernels."""
    names = ("torch", "numpy", "fastapi", "uvicorn", *more)
    versions = [f"{name} {version(name)}" for name in names]
    kernels = [
        f"{library['internal_api']} for {library['architecture']}"
        for library in threadpool_info()
        if "architecture" in library
    ]
    host = [f"{os.cpu_count()} x {cpu_name()}", f"Python {platform.python_version()}"]
    return ", ".join([*host, *versions, *kernels])
