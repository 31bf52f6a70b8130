"""A plan as a request: what a call means and costs. Nothing is computed."""

from collections.abc import Awaitable

from service.codecs import DecodeContext
from service.codecs.media_types import JSON
from service.core.response import HttpResponse
from service.executors import AnyExecutor, Bytes
from service.http.serializers import chain_plan_answer, plan_answer
from service.pipeline.dispatch import dispatch
from service.pipeline.request import PipelineRequest
from service.planning.chain import ChainSpec, explain_chain
from service.planning.plan import plans_at_once


class PlanRequest(PipelineRequest):
    """A request of `/{op}/plan`."""

    __slots__ = ()

    def respond(self, body: Bytes, query: bytes) -> HttpResponse | Awaitable[HttpResponse]:
        """Return the response to a whole body: at once, or to be awaited if it takes time."""
        self.start(body, query)
        negotiated = self.negotiated
        reader = negotiated.reader
        if not self.may_wait and len(body) <= reader.thread_bytes:
            self.call = reader.try_decode(body, negotiated.op, self.context, self.fields)
        if self.call is None:
            return dispatch(self)
        self.is_prepared = True
        if plans_at_once(self.call.specs):
            return self.run()
        return dispatch(self)

    @property
    def context(self) -> DecodeContext:
        """Limits that the body is decoded with; the plan itself says that a size is too large."""
        return self.service.plan_context

    @property
    def deadline_ms(self) -> int:
        """Deadline of the server: that of the call is a part of what is planned."""
        return self.service.settings.deadline_ms

    def prepare(self) -> None:
        """Decode the body."""
        self.call = self.decode()
        self.is_prepared = True

    def choose_executor(self) -> AnyExecutor:
        """Return the threads: an order of contraction may have to be searched."""
        return self.service.threads

    def run(self) -> HttpResponse:
        """Return the explanation of the plan."""
        engine, call = self.service.engine, self.call
        assert call is not None  # noqa: S101  # it has been prepared
        spec = engine.call_spec(call)
        answer = plan_answer(spec, engine.planner.explain(spec))
        return HttpResponse.of(JSON, (answer.model_dump_json(exclude_unset=True).encode(),))


class ChainPlanRequest(PlanRequest):
    """A request of `/chain/plan`."""

    __slots__ = ()

    def respond(self, body: Bytes, query: bytes) -> Awaitable[HttpResponse]:
        """Return the response, to be awaited: a chain may have many steps to plan."""
        self.start(body, query)
        return dispatch(self)

    def run(self) -> HttpResponse:
        """Return the explanation of the plan, in all and by step."""
        call = self.call
        assert call is not None  # noqa: S101  # it has been prepared
        spec = ChainSpec.of(call)
        answer = chain_plan_answer(spec, explain_chain(self.service.engine.planner, spec))
        return HttpResponse.of(JSON, (answer.model_dump_json(exclude_unset=True).encode(),))
