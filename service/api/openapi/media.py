"""What the OpenAPI document says of bodies and answers that are not JSON."""

from typing import Any, Final

from service.codecs import READERS, WRITERS
from service.codecs.binary.npy import NpyCodec
from service.http.negotiation import JSON
from service.registry import Op

Described = dict[str, Any]

BINARY: Final = {"type": "string", "format": "binary"}
ONLY: Final = "Here, or in a JSON body."
# Annotations that Swagger UI would send as if the reader had typed them.
PREFILLED: Final = ("default", "examples")
HEADERS: Final = {
    "Server-Timing": "Milliseconds of each phase (W3C).",
    "X-Strategy": "What computed the result; in answers that are not JSON.",
    "X-Device": "Where it was computed; in answers that are not JSON.",
    "X-Envelope": "The JSON answer without its result, at most 4 KB; its longest blocks may be "
    "`dropped`. In answers that are not JSON.",
    "X-Tensor-Shape": "Sizes of the axes, joined by commas; of application/octet-stream.",
    "X-Tensor-Dtype": "dtype of the bytes; of application/octet-stream.",
}


def body_content(op: Op[Any]) -> Described:
    """The media types of a request's body beside JSON. An npy file is one tensor."""
    one = op.operands is None or len(op.operands) == 1
    taken = (name for name in READERS if one or name != NpyCodec.media_type)
    return {name: {"schema": BINARY} for name in taken if name != JSON}


def answer_content() -> Described:
    """The media types of a result beside JSON."""
    return {name: {"schema": BINARY} for name in WRITERS if name != JSON}


def answer_headers() -> Described:
    """The headers of a result."""
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
    }


def query_parameters(op: Op[Any], properties: Described) -> list[Described]:
    """The fields of a request that stand in the query string: those of its schema, but no operands.

    What may be a list is JSON text.
    """
    operands = op.operands if op.operands is not None else ("operands",)
    return [_parameter(name, field) for name, field in properties.items() if name not in operands]


def _parameter(name: str, field: Described) -> Described:
    schema = {key: value for key, value in field.items() if key not in PREFILLED}
    text = schema.pop("description")
    kinds = [schema, *schema.get("anyOf", ())]
    is_list = any(kind.get("type") == "array" for kind in kinds)
    form = {"content": {JSON: {"schema": schema}}} if is_list else {"schema": schema}
    return {"name": name, "in": "query", "description": f"{text} {ONLY}", **form}
