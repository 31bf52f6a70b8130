"""The pipeline of calls that are planned before they run: what operations and chains share."""

from abc import abstractmethod
from dataclasses import replace
from typing import Generic, TypeVar

from service.codecs import DecodeContext, Writer
from service.core.call import Call
from service.core.timing import DECODE
from service.executors import AnyExecutor, Channel
from service.pipeline.dispatch import planned_executor, with_planning_state
from service.pipeline.messages import Admitted, WorkerRequest, WrongDeviceError
from service.pipeline.request import PipelineRequest
from service.planning.chain import ChainPlan
from service.planning.plan import Plan

P = TypeVar("P", Plan, ChainPlan)


class PlannedRequest(PipelineRequest, Generic[P]):
    """A request whose call has a plan: that of an operation, or of all steps of a chain.

    `prepare` sets `plan`, `strategy` and `writer`, and then `is_prepared`.
    """

    __slots__ = ("plan", "writer")

    plan: P
    writer: Writer

    @property
    def context(self) -> DecodeContext:
        """Limits and defaults that the body is decoded with, by the answer's first format."""
        service = self.service
        has_outputs = self.negotiated.writers[0].has_outputs
        return service.context if has_outputs else service.binary_context

    @property
    def estimated_ns(self) -> int | None:
        """Estimated time of computing and encoding; None if nothing has been planned."""
        return self.plan.estimated_ns + self.encode_ns if self.is_prepared else None

    @property
    @abstractmethod
    def encode_ns(self) -> int:
        """Estimated time of encoding the results."""

    @property
    @abstractmethod
    def admitted(self) -> Admitted:
        """The plan as it is told to other processes."""

    def decode_call(self, *, is_admitted: bool = False) -> Call:
        """Return the call to be planned: that of the body, or one that is made of it."""
        return self.decode()

    @abstractmethod
    def prepare_admitted(self, call: Call, admitted: Admitted) -> None:
        """Plan the call as another process has."""

    def choose_executor(self) -> AnyExecutor:
        """Return the executor for the plan, or for text that has not been read yet."""
        if self.is_slow_text:
            assert self.service.worker_pool is not None  # noqa: S101  # no text is slow without
            return self.service.worker_pool
        return planned_executor(self.service, self.plan, may_wait=self.may_wait)

    def message(self) -> WorkerRequest:
        """Return the message to a worker, with the plan, or with what a plan depends on."""
        message = super().message()
        if self.is_prepared:
            return replace(message, admitted=self.admitted)
        return with_planning_state(message, self.service)

    def prepare_in_worker(self, message: WorkerRequest, channel: Channel) -> None:
        """Decode, and plan as the server has, or anew.

        WrongDeviceError if the call is planned for a device that has a process of its own.
        """
        admitted = message.admitted
        self.call = call = self.decode_call(is_admitted=admitted is not None)
        if admitted is not None:
            self.prepare_admitted(call, admitted)
            return
        if call.deadline_ms is not None:
            self.watch.lap(DECODE)
            channel.set_deadline(self.left_ms)
        self.prepare()
        if self.plan.device.has_process:
            self.watch.lap(DECODE)
            raise WrongDeviceError(self.admitted, call.deadline_ms, self.watch.marks)
