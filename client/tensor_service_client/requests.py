"""Requests of the API, each with the reader of its response. They do no input or output.

Arrays are sent as safetensors and returned as bare bytes, which hold every dtype. complex128 and
nested lists, which safetensors does not have, are sent in JSON, arrays there as base64.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypedDict, TypeVar

from tensor_service_client.answers import Answer, ChainAnswer, Gradients, Summary
from tensor_service_client.arrays import CODES, Operand, Packed, Shape, kind_of, pack, spec_of
from tensor_service_client.calls import Call, Precision, given
from tensor_service_client.catalog import Devices, Operation, Operations
from tensor_service_client.errors import InvalidArgumentError
from tensor_service_client.operands import json_value, named
from tensor_service_client.plans import ChainPlan, Plan
from tensor_service_client.races import Report
from tensor_service_client.responses import (
    EVENTS,
    JSON,
    RAW,
    BodyReader,
    EventReader,
    Headers,
    ResponseReader,
    chain_results,
    document_of,
    failure,
    gradients_like,
    lists,
    summary,
    tensor_like,
)

SAFETENSORS: Final = "application/x-safetensors"
Value_co = TypeVar("Value_co", covariant=True)
Made = TypeVar("Made")
MakeReader = Callable[[Headers], ResponseReader[Value_co]]


class RaceOptions(TypedDict, total=False):
    """Options of a race; docs/compare.md describes them."""

    strategies: list[str]
    devices: list[str]
    precisions: list[Precision]
    baseline: str
    repeat: int
    budget_ms: int
    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class PreparedRequest(Generic[Value_co]):
    """A request, and the function that makes the reader of its response."""

    method: str
    path: str
    accept: str
    make_reader: MakeReader[Value_co]
    params: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None
    content: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request, which ask for no compression: it takes longer than it saves."""
        headers = {"Accept": self.accept, "Accept-Encoding": "identity"}
        return headers | ({"Content-Type": self.media_type} if self.media_type else {})

    def reader(self, status: int, headers: Headers) -> ResponseReader[Value_co]:
        """Return the reader of a response with this status and these headers."""
        if status == 200:
            return self.make_reader(headers)
        return BodyReader(failure(status), headers)


def run(call: Call[Any]) -> PreparedRequest[Answer[Any]]:
    """Compute, and return the result."""
    if call.kinds[0] == "plain":
        return _post(call, "", JSON, lambda headers: BodyReader(lists, headers))
    return _post(call, "", RAW, lambda headers: BodyReader(tensor_like(call.first), headers))


def run_chain(call: Call[Any]) -> PreparedRequest[ChainAnswer]:
    """Compute a chain, and return the results that it names."""
    like = next((x for x in call.operands.values() if kind_of(x) != "plain"), None)
    output = {"output": "nested" if like is None else "base64"}
    return _post(call, "", JSON, lambda headers: BodyReader(chain_results(like), headers), output)


def summarize(call: Call[Any]) -> PreparedRequest[Answer[Summary]]:
    """Compute, and return statistics of the result without its elements."""
    fields = {"output": "summary"}
    return _post(call, "", JSON, lambda headers: BodyReader(summary, headers), fields)


def gradients(call: Call[Any], upstream: "Operand | None") -> PreparedRequest[Gradients[Any]]:
    """Compute the gradient of each operand."""
    is_plain = call.kinds[0] == "plain"
    fields = {"output": "nested" if is_plain else "base64"}
    whole = call if upstream is None else replace(call, beside={"upstream": upstream})
    read = gradients_like(None if is_plain else call.first)
    return _post(whole, "/gradients", JSON, lambda headers: BodyReader(read, headers), fields)


def plan(call: Call[Any]) -> PreparedRequest[Plan]:
    """Plan the call. Of arrays, only dtype and shape are sent."""
    body = _body(call, {}, _planned)
    kind = ChainPlan if call.op == "chain" else Plan
    return PreparedRequest("POST", f"/{call.op}/plan", JSON, _documents(kind), {}, JSON, body)


def compare(call: Call[Any], options: RaceOptions) -> PreparedRequest[Report]:
    """Race the strategies; the rows arrive one by one."""
    return _post(call, "/compare", EVENTS, EventReader, given(options))


def get(path: str, make: Callable[[Any], Any] = lambda found: found) -> PreparedRequest[Any]:
    """Get a JSON document of the service."""
    return PreparedRequest("GET", path, JSON, _documents(make))


def strategies() -> PreparedRequest[Operations]:
    """Get every operation and its strategies."""
    return get("/strategies", lambda found: Operations(map(Operation, found)))


def devices() -> PreparedRequest[Devices]:
    """Get the devices of the service's host."""
    return get("/devices", Devices)


def _documents(make: Callable[[Any], Made]) -> MakeReader[Made]:
    """Return what makes a reader of a JSON document."""
    return lambda headers: BodyReader(document_of(make), headers)


def _post(
    call: Call[Any],
    more: str,
    accept: str,
    make_reader: MakeReader[Value_co],
    fields: Mapping[str, Any] | None = None,
) -> PreparedRequest[Value_co]:
    """Return the request with the data of the call, as bytes if possible."""
    if "shape" in call.kinds:
        raise InvalidArgumentError("a Shape has no data: it can be planned, and nothing else")
    path, fields = f"/{call.op}{more}", fields or {}
    if "plain" not in call.kinds:
        packed: dict[str, Packed] = named(pack, {**call.operands, **call.beside})
        if all(CODES[each.dtype][0] for each in packed.values()):
            params = {name: _text(value) for name, value in {**call.fields, **fields}.items()}
            return PreparedRequest(
                "POST", path, accept, make_reader, params, SAFETENSORS, _safetensors(packed)
            )
    return PreparedRequest(
        "POST", path, accept, make_reader, {}, JSON, _body(call, fields, _written)
    )


def _text(value: Any) -> str:
    """Return a field for the query string: strings as they are, other values as JSON."""
    return value if isinstance(value, str) else _json(value).decode()


def _json(value: Any) -> bytes:
    """Return JSON text, without the words that only Python reads."""
    try:
        return _dump(value)
    except (TypeError, ValueError, RecursionError):  # among others, for NaN and numpy's scalars
        pass
    try:
        return _dump(json_value(value))
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"there is no JSON text of it: {error}") from None


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _safetensors(tensors: Mapping[str, Packed]) -> bytes:
    """Return a safetensors file of the tensors; its header is padded to align them."""
    header, end = {}, 0
    for name, each in tensors.items():
        begin, end = end, end + each.data.nbytes
        code = CODES[each.dtype][0]
        header[name] = {"dtype": code, "shape": each.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(t.data for t in tensors.values())])


def _body(call: Call[Any], fields: Mapping[str, Any], write: Callable[[Any], Any]) -> bytes:
    """Return the call as a JSON document."""
    written = named(write, call.operands)
    operands = {"operands": list(written.values())} if call.listed else written
    body = {**operands, **named(write, call.beside), **call.fields, **fields}
    return _json(body)


def _planned(operand: Any) -> Any:
    """Return an operand of a plan."""
    if kind_of(operand) == "plain":
        return operand
    dtype, shape = (
        (operand.dtype, operand.sizes) if isinstance(operand, Shape) else spec_of(operand)
    )
    return {"shape": shape} | ({"dtype": dtype} if dtype else {})


def _written(operand: Any) -> Any:
    """Return an operand for JSON."""
    if kind_of(operand) == "plain":
        return operand
    packed = pack(operand)
    text = b64encode(packed.data).decode()
    return {"shape": packed.shape, "dtype": packed.dtype, "b64": text}
