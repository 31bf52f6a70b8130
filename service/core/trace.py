"""Traces of exceptions without their texts, which may quote a part of a request."""

from traceback import format_tb


def trace_text(error: BaseException | None) -> str:
    """Return where an exception and then its causes were raised: frames, and names of types."""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error can be its own cause
        seen.add(id(error))
        parts.append("".join(format_tb(error.__traceback__)) + type(error).__qualname__)
        error = error.__cause__ or error.__context__
    return "\n".join(parts)
