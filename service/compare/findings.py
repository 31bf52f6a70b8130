"""What a race found, in words that tables and pictures share."""

from collections.abc import Iterable
from typing import Protocol

from service.compare import Report, Row


class Named(Protocol):
    """A strategy on a device."""

    @property
    def strategy(self) -> str:
        """Its strategy."""
        ...

    @property
    def device(self) -> str:
        """Its device."""
        ...


def rung_names(rungs: Iterable[Named]) -> list[str]:
    """What each is called: its strategy, and its device where there are several."""
    named = list(rungs)
    several = len({rung.device for rung in named}) > 1
    return [f"{rung.strategy} on {rung.device}" if several else rung.strategy for rung in named]


def quickest(report: Report) -> Row | None:
    """The rung with the least median among those that agree with float64; None if none does."""
    ran = [row for row in report.rows if row.agreement is not None and row.agreement.agrees]
    return min(ran, key=lambda row: row.median_ns, default=None)


def host_line(report: Report) -> str:
    """Where it was run: processor, threads, versions."""
    host = report.host
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    threads = "1 thread" if host.threads == 1 else f"{host.threads} threads"
    return f"{host.cpu}, {threads}, {versions}"
