"""Statistics of the Open Inference Protocol: calls of each model and version.

Each server process counts its own answers since its start. All counting happens in the event loop,
so nothing is locked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Final

from service.core.call import AUTO

MS_PER_S: Final = 1000


@dataclass(slots=True)
class Duration:
    """Number of times that something took place, and nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class VersionStatistics:
    """Calls of one version of a model.

    `compute_input` is decoding, upload and compiling, `compute_output` download and encoding.
    """

    last_ms: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def succeed(self, phases: Sequence[int], total_ns: int) -> None:
        """Count an answer, whose phases took so many nanoseconds."""
        decode, queue, upload, compiling, compute, download, encode = phases
        self.last_ms = int(time() * MS_PER_S)
        self.success.add(total_ns)
        self.queue.add(queue)
        self.compute_input.add(decode + upload + compiling)
        self.compute_infer.add(compute)
        self.compute_output.add(download + encode)

    def refuse(self, total_ns: int) -> None:
        """Count a call that ended in an error."""
        self.last_ms = int(time() * MS_PER_S)
        self.fail.add(total_ns)


class InferenceStatistics:
    """Statistics of each version of each model.

    An answer is counted for the strategy that computed it, an error for the version that the
    request named: that of `auto` holds errors only.
    """

    __slots__ = ("models",)

    def __init__(self, models: Mapping[str, Iterable[str]]):
        """Begin at zero, with the strategies of each model."""
        self.models = {
            model: {version: VersionStatistics() for version in (AUTO, *strategies)}
            for model, strategies in models.items()
        }

    def succeed(self, model: str, strategy: str, phases: Sequence[int], total_ns: int) -> None:
        """Count an answer that `strategy` computed."""
        self.models[model][strategy].succeed(phases, total_ns)

    def fail(self, model: str, version: str, total_ns: int) -> None:
        """Count a call of `version` that ended in an error."""
        self.models[model][version].refuse(total_ns)
