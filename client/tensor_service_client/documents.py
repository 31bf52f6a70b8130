"""JSON objects of the service, with their fields as attributes and as keys."""

from collections.abc import Mapping
from inspect import get_annotations
from typing import Any, ClassVar


class Document(dict[str, Any]):
    """A JSON object as it came: `plan.accepted` is `plan["accepted"]`.

    A class names the fields that it knows as annotations. As attributes they are None if the
    service left them out; those that a newer service adds can be read too.
    """

    _parts: ClassVar[Mapping[str, type["Document"]]] = {}

    def __init_subclass__(cls, **parts: type["Document"]):
        """Set the types of fields that are objects, or lists of them."""
        super().__init_subclass__()
        cls._parts = {**cls._parts, **parts}

    def __init__(self, fields: Mapping[str, Any]):
        """Take the fields; TypeError or ValueError if they are no object of this kind."""
        super().__init__(fields)
        for name, kind in self._parts.items():
            value = self.get(name)
            if isinstance(value, list):
                self[name] = [kind(each) for each in value]
            elif value is not None:
                self[name] = kind(value)

    def __getattr__(self, name: str) -> Any:
        """Return a field."""
        if name in self:
            return self[name]
        if any(name in get_annotations(kind) for kind in type(self).__mro__):
            return None
        raise AttributeError(
            f"{type(self).__name__} has no field {name!r}; it has {', '.join(self)}"
        )

    def __dir__(self) -> list[str]:
        """Return names for completion, with those of the fields."""
        return sorted({*super().__dir__(), *self})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as dictionaries and lists of Python."""
        return {name: plain(value) for name, value in self.items()}


def plain(value: Any) -> Any:
    """Return a value with each document in it as a dictionary."""
    if isinstance(value, Document):
        return value.to_dict()
    return [plain(each) for each in value] if isinstance(value, list) else value
