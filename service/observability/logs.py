"""The log: a line for each event, as text or as JSON.

No line holds a part of a body: neither of one that was refused, nor of the text of an exception.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from service.core.trace import trace_text
from service.executors import WorkerFaultError
from service.settings import Settings

FIELDS: Final = "fields"  # the attribute of a record that holds its named values


class TextFormatter(logging.Formatter):
    """`time LEVEL logger message name=value ...`, then where an exception came from."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of one event."""
        head = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}"
        fields = [f"{name}={value}" for name, value in _fields(record).items()]
        return "\n".join([" ".join([head, *fields]), *_trace(record)])


class JsonFormatter(logging.Formatter):
    """One JSON object on one line, with the named values among its keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of one event."""
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        trace = "\n".join(_trace(record))
        if trace:
            event["exception"] = trace
        return orjson.dumps(event, default=str).decode()


def log_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of all loggers, uvicorn's included, for `logging.config`."""
    formatter = JsonFormatter if settings.log_format == "json" else TextFormatter
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"uvicorn": {"level": level}},
    }


def _time(record: logging.LogRecord) -> str:
    text = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, FIELDS, {})
    return fields


def _trace(record: logging.LogRecord) -> Iterator[str]:
    """Yield where an exception was raised, and where in the worker process that it came from."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        yield trace_text(error)
    if isinstance(error, WorkerFaultError):
        yield error.trace
