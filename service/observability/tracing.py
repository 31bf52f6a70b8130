"""OpenTelemetry: attributes of calls on FastAPI's spans.

FastAPI exports spans and metrics as `OTEL_EXPORTER_OTLP_ENDPOINT` says. It makes a span for each
request that its router serves: while there is an exporter, requests of operations take that way.
"""

import os
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace

from service.observability.record import OperationCall, call_fields

EXPORTER_PREFIX: Final = "OTEL_EXPORTER_OTLP_"


def is_on(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether there is an exporter or a provider: to be called after the app's start."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    named = any(
        name.startswith(EXPORTER_PREFIX) and name.endswith("ENDPOINT") and value
        for name, value in environment.items()
    )
    return named or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def describe_call(call: OperationCall) -> None:
    """Add the fields of a call to the span of its request, if it has one."""
    span = trace.get_current_span()
    if span.is_recording():
        fields = call_fields(call)
        span.set_attributes({f"tensor_service.{name}": value for name, value in fields.items()})
