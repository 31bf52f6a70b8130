"""What became of the calls of each model and version: the protocol's statistics extension.

One server process counts what it has answered itself, since it started. All of it happens in the
event loop, so nothing is locked.
"""

from dataclasses import dataclass, field
from time import time

from service.core.call import AUTO
from service.core.timing import Timings
from service.registry import Registry

MS_PER_S = 1000


@dataclass(slots=True)
class Duration:
    """How often something took time, and how much in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class Record:
    """The calls of one version of a model.

    `compute_input` is decoding and the way to the device, `compute_output` the way back and
    encoding.
    """

    last_ms: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def succeed(self, timings: Timings, total_ns: int) -> None:
        """Count an answer."""
        self.last_ms = int(time() * MS_PER_S)
        self.success.add(total_ns)
        self.queue.add(timings.queue_ns)
        self.compute_input.add(timings.decode_ns + timings.upload_ns)
        self.compute_infer.add(timings.compute_ns)
        self.compute_output.add(timings.download_ns + timings.encode_ns)

    def refuse(self, total_ns: int) -> None:
        """Count a call that ended in an error."""
        self.last_ms = int(time() * MS_PER_S)
        self.fail.add(total_ns)


class Statistics:
    """A record for each version of each model.

    An answer is counted for the strategy that computed it, a refusal for the version that the
    request named: that of `auto` holds refusals only.
    """

    __slots__ = ("records",)

    def __init__(self, registry: Registry):
        """Begin at zero."""
        self.records = {
            op.name: {version: Record() for version in (AUTO, *op.strategies)}
            for op in registry.values()
        }
