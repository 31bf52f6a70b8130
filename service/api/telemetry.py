"""OpenTelemetry: FastAPI's own spans and metrics, where an exporter or a provider is set.

FastAPI sets the exporters of `OTEL_EXPORTER_OTLP_ENDPOINT` when it starts. It makes a span for what
its router serves, so that while there is an exporter POSTs of operations come by the router too.
"""

import os
from collections.abc import Mapping
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from service.api.exchange import Exchange
from service.api.reception import call_fields

# Its log records would repeat what exceptions say; ours do not.
CONFIG: Final[TelemetryConfig] = {"auto_configure": True, "logs": False}
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


def describe_call(exchange: Exchange) -> None:
    """Add what a call was, and its phases, to the span of its request, if it has one."""
    span = trace.get_current_span()
    if span.is_recording():
        fields = call_fields(exchange)
        span.set_attributes({f"tensor_service.{name}": value for name, value in fields.items()})
