"""Requests of gradients: chains whose steps are the einsums of the gradients.

The body is that of the operation, with the upstream gradient as one more operand. A request is
admitted if the call itself and all of its gradients are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.chain_engine import chain_call
from service.codecs.gradients import GRADIENTS_WRITERS
from service.core.call import AUTO, Call, Spec
from service.errors import RequestError
from service.http.negotiation import FORMAT_HEADERS, chain_formats
from service.operations.gradient_steps import EINSUM, SUFFIX, gradient_steps
from service.operations.gradients import UPSTREAM
from service.pipeline.chain import ChainRequest
from service.pipeline.request import Negotiated
from service.pipeline.service import Service
from service.planning.chain import local_devices
from service.planning.plan import CallSpec, plans_at_once
from service.planning.planner import Planner
from service.registry import Inferred, Op


@dataclass(frozen=True, slots=True)
class GradientsEndpoint:
    """POST of the gradients of an operation."""

    service: Service
    op: Op[Any]

    def negotiate(self, headers: Mapping[bytes, bytes]) -> "NegotiatedGradients":
        """Return what raw headers settle, or raise the error that is known before the body."""
        given = tuple(map(headers.get, FORMAT_HEADERS))
        found = chain_formats(headers, GRADIENTS_WRITERS)
        return NegotiatedGradients(self.service, self.op, *found, headers=given)


@dataclass(frozen=True, slots=True)
class NegotiatedGradients(Negotiated):
    """Operation and formats that the head of a request settles."""

    def begin(
        self, request_id: str, length: int = 0, received: bytes | None = None
    ) -> "GradientsRequest":
        """Return a request with a buffer for a body, as `NegotiatedOperation.begin` does."""
        return GradientsRequest(self, request_id, length, received)


class GradientsRequest(ChainRequest):
    """A request of gradients, whose chain is made of the call in its body."""

    __slots__ = ("_explanation",)

    _explanation: Mapping[str, object]

    def converts_at_once(self, call: Call) -> bool:
        """Return whether the call has few operands, as each gradient has."""
        return plans_at_once(call.operands)

    def to_chain(self, call: Call, *, is_admitted: bool = False) -> Call:
        """Return the chain of the gradients, or raise the error that refuses the call.

        The call itself is planned, too: what is over a limit has no gradients.
        """
        engine, name = self.service.engine, self.op_name.removesuffix(SUFFIX)
        op, params, operands = engine.registry[name], dict(call.params), [*call.operands]
        position = params.pop(UPSTREAM, None)
        upstream = operands.pop(position) if isinstance(position, int) else None
        specs = tuple(Spec(tuple(x.shape), x.dtype) for x in operands)
        forward = CallSpec(op, specs, params, AUTO, call.device, call.deadline_ms)
        forward = replace(forward, arithmetic=call.arithmetic)
        inferred = op.infer(specs, **params) if is_admitted else _admitted(engine.planner, forward)
        found = gradient_steps(
            op,
            engine.registry[EINSUM],
            inferred,
            operands,
            upstream=upstream,
            optimize=params.get("optimize"),
        )
        self._explanation = found.explanation
        chain = chain_call(found.operands, found.steps, [step.name for step in found.steps])
        return replace(call, op=name, operands=chain.operands, params=chain.params)

    @property
    def explanation(self) -> Mapping[str, object]:
        """The equation of the call, and the texts of each gradient."""
        return self._explanation


def _admitted(planner: Planner, call: CallSpec) -> Inferred:
    """Return what is inferred of a call, or raise the error that says why it is not admitted.

    Only devices of this host count: a cluster would admit what has no room for gradients here.
    """
    errors: list[RequestError] = []
    for device in local_devices(planner, call.device):
        try:
            return planner.plan(replace(call, device=device.name)).inferred
        except RequestError as error:
            errors.append(error)
    raise errors[0]
