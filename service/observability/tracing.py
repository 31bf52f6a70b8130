"""OpenTelemetry: FastAPI's own spans and metrics, where an exporter or a provider is set.

FastAPI sets the exporters of `OTEL_EXPORTER_OTLP_ENDPOINT` when it starts. It makes a span for what
its router serves, so that while there is an exporter POSTs of operations come by the router too,
and what is refused at the door goes as far as its layers.
"""

import os
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import error_response
from service.observability.record import call_fields
from service.pipeline.request import OperationRequest

# In the state of a request: the ServiceError that refused it.
REFUSAL: Final = "refusal"
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_"


def is_on(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is somebody to tell: asked once the app has started."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    named = any(
        name.startswith(ENDPOINT) and name.endswith("ENDPOINT") and value
        for name, value in environment.items()
    )
    return named or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def describe_call(exchange: OperationRequest) -> None:
    """Add what a call was, and its phases, to the span of its request, if it has one."""
    span = trace.get_current_span()
    if span.is_recording():
        fields = call_fields(exchange)
        span.set_attributes({f"tensor_service.{name}": value for name, value in fields.items()})


class Refusing:
    """A layer of the framework: answers what was refused at the door, within a span."""

    def __init__(self, app: ASGIApp):
        """Pass on to `app` whatever may enter."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event."""
        error = scope.get("state", {}).get(REFUSAL)
        served = self._app if error is None else error_response(scope, error)
        await served(scope, receive, send)
