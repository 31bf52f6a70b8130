"""What to send, and how to read what comes back: requests without a transport.

Arrays travel as safetensors and come back as bare bytes, which hold every dtype. What safetensors
cannot hold, complex128 and nested lists, travels in JSON, arrays there as base64.
"""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypedDict, TypeVar

from service.client.answers import Answer, Operation, Plan, Report, Summary
from service.client.arrays import CODES, Packed, Shape, kind_of, pack, spec_of
from service.client.calls import Call
from service.client.responses import (
    EVENTS,
    JSON,
    RAW,
    ResponseReader,
    Stream,
    Whole,
    document,
    failure,
    lists,
    summary,
    tensor_like,
)

SAFETENSORS: Final = "application/x-safetensors"
Value_co = TypeVar("Value_co", covariant=True)
Read = Callable[[Mapping[str, str]], ResponseReader[Value_co]]


class RaceOptions(TypedDict, total=False):
    """How to race; docs/compare.md tells what each does."""

    strategies: list[str]
    devices: list[str]
    baseline: str
    repeat: int
    budget_ms: int
    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class Ask(Generic[Value_co]):
    """A request, and what reads its answer."""

    method: str
    path: str
    accept: str
    read: Read[Value_co]
    params: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None
    content: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request. Compression is not worth its time."""
        headers = {"Accept": self.accept, "Accept-Encoding": "identity"}
        return headers | ({"Content-Type": self.media_type} if self.media_type else {})

    def context(self, status: int, head: Mapping[str, str]) -> ResponseReader[Value_co]:
        """What takes the body of an answer of this status and these headers."""
        return self.read(head) if status == 200 else Whole(failure(status), head)


def run(call: Call[Any]) -> Ask[Answer[Any]]:
    """Compute, and bring the result."""
    if call.kinds[0] == "plain":
        return _post(call, "", JSON, lambda head: Whole(lists, head))
    return _post(call, "", RAW, lambda head: Whole(tensor_like(call.first), head))


def summarize(call: Call[Any]) -> Ask[Answer[Summary]]:
    """Compute, and tell of the result without sending it."""
    fields = {"output": "summary"}
    return _post(call, "", JSON, lambda head: Whole(summary, head), fields)


def plan(call: Call[Any]) -> Ask[Plan]:
    """Say what it means and costs. Of arrays only dtype and shape are sent."""
    body = _body(call, {}, _planned)
    return Ask("POST", f"/{call.op}/plan", JSON, _documents, {}, JSON, body)


def compare(call: Call[Any], options: RaceOptions) -> Ask[Report]:
    """Race the strategies; the rows come one by one."""
    fields = {name: value for name, value in options.items() if value is not None}
    return _post(call, "/compare", EVENTS, Stream, fields)


def get(path: str) -> Ask[Any]:
    """A document of the service."""
    return Ask("GET", path, JSON, _documents)


def strategies() -> Ask[list[Operation]]:
    """Every operation and its strategies."""
    return get("/strategies")


def _documents(head: Mapping[str, str]) -> ResponseReader[Any]:
    return Whole(document, head)


def _post(
    call: Call[Any],
    more: str,
    accept: str,
    read: Read[Value_co],
    fields: Mapping[str, Any] | None = None,
) -> Ask[Value_co]:
    """The call with its data, as bytes if they can be."""
    if "shape" in call.kinds:
        raise TypeError("a Shape has no data: it can be planned, and nothing else")
    path, fields = f"/{call.op}{more}", fields or {}
    if "plain" not in call.kinds:
        packed = {name: pack(each) for name, each in call.operands.items()}
        if all(CODES[each.dtype][0] for each in packed.values()):
            params = {name: _text(value) for name, value in {**call.fields, **fields}.items()}
            return Ask("POST", path, accept, read, params, SAFETENSORS, _safetensors(packed))
    return Ask("POST", path, accept, read, {}, JSON, _body(call, fields, _written))


def _text(value: Any) -> str:
    """A field in a query string: words stand plain, all else is JSON text."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _safetensors(tensors: Mapping[str, Packed]) -> bytes:
    """A safetensors file of the tensors; its header is padded, so that they are aligned."""
    header, end = {}, 0
    for name, each in tensors.items():
        begin, end = end, end + each.data.nbytes
        code = CODES[each.dtype][0]
        header[name] = {"dtype": code, "shape": each.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(t.data for t in tensors.values())])


def _body(call: Call[Any], fields: Mapping[str, Any], write: Callable[[Any], Any]) -> bytes:
    """The call as a JSON document."""
    written = {name: write(each) for name, each in call.operands.items()}
    operands = {"operands": list(written.values())} if call.listed else written
    body = {**operands, **call.fields, **fields}
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return json.dumps(_worded(body), separators=(",", ":"), allow_nan=False).encode()


def _planned(operand: Any) -> Any:
    """An operand of a plan."""
    if kind_of(operand) == "plain":
        return operand
    dtype, shape = (
        (operand.dtype, operand.sizes) if isinstance(operand, Shape) else spec_of(operand)
    )
    return {"shape": shape} | ({"dtype": dtype} if dtype else {})


def _written(operand: Any) -> Any:
    """An operand in JSON."""
    if kind_of(operand) == "plain":
        return operand
    packed = pack(operand)
    text = b64encode(packed.data).decode()
    return {"shape": packed.shape, "dtype": packed.dtype, "b64": text}


def _worded(value: Any) -> Any:
    """Words for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _worded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
