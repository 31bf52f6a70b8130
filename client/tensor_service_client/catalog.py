"""Operations, strategies and devices of a service."""

from collections.abc import Iterator
from typing import Any

from tensor_service_client.documents import Document
from tensor_service_client.tables import NO_VALUE, Block, Table, Tabular
from tensor_service_client.units import bytes_text, count_text


class Strategy(Tabular, Document):
    """One way to compute an operation."""

    op: str
    name: str
    summary: str
    snippet: str
    dtypes: dict[str, list[str]]
    available: bool
    reason: str | None
    precisions: list[str]
    accumulates_in: str | None
    deterministic: bool
    work_limits: list[dict[str, Any]]

    def _blocks(self) -> Iterator[Block]:
        yield f"strategy {self.name} of {self.op}: {self.summary}"
        yield from (
            f"{kind}: {', '.join(dtypes)}" for kind, dtypes in self.dtypes.items() if dtypes
        )
        if len(self.precisions or ()) > 1:
            yield f"float32 products: {', '.join(self.precisions)}"
        if self.accumulates_in:
            yield f"sums of float16 and bfloat16: {self.accumulates_in}"
        if self.deterministic is False:
            yield "not deterministic"
        if self.reason:
            yield f"not available: {self.reason}"


class Operation(Tabular, Document, strategies=Strategy):
    """An operation and its strategies, slowest first."""

    name: str
    summary: str
    operands: list[str]
    auto: list[str]
    strategies: list[Strategy]

    def _blocks(self) -> Iterator[Block]:
        yield f"{self.name}({', '.join(self.operands)}): {self.summary}"
        yield Table(
            ("strategy", "available", "summary"),
            [
                (each.name, "yes" if each.available else "NO", each.summary)
                for each in self.strategies
            ],
        )


class Operations(Tabular, list[Operation]):
    """Every operation of the service, in its order."""

    def to_dict(self) -> dict[str, Any]:
        """Return the operations by their names, as dictionaries."""
        return {each.name: each.to_dict() for each in self}

    def _blocks(self) -> Iterator[Block]:
        yield f"{len(self)} operations"
        for each in self:
            yield from each.blocks()


class Device(Document):
    """A device of the service's host."""

    name: str
    kind: str
    description: str
    memory_bytes: int | None
    ready: bool
    reason: str | None
    precisions: list[str]
    peak: dict[str, Any] | None
    wins_from: dict[str, Any] | None


class Devices(Tabular, Document, devices=Device):
    """The devices of the service's host, and the default one."""

    devices: list[Device]
    default: str
    tf32: bool
    threads: int

    def _blocks(self) -> Iterator[Block]:
        yield f"devices; the default is {self.default}"
        yield Table(
            ("device", "kind", "memory", "ready", "description"),
            [
                (
                    each.name,
                    each.kind,
                    bytes_text(each.memory_bytes) if each.memory_bytes else NO_VALUE,
                    "yes" if each.ready else f"NO: {each.reason}",
                    each.description,
                )
                for each in self.devices
            ],
            frozenset({"memory"}),
        )
        for each in self.devices:
            if len(each.precisions or ()) > 1:
                yield f"{each.name}: float32 products in {', '.join(each.precisions)}"
            if found := each.wins_from:
                yield (
                    f"{each.name}: faster than the CPU from {found['op']} of {found['dtype']} "
                    f"with n = {count_text(found['n'])}"
                )
