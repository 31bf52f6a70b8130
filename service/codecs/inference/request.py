"""The JSON of an Open Inference Protocol request to checked fields and tensors.

Parameters are the fields of the service's own bodies, and checked like them. A field that is null
counts as absent, because clients send null for what they leave empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from math import prod
from typing import Any, Final, NoReturn

from service.codecs.base import Body, DecodeContext
from service.codecs.binary.slices import (
    DecodedHeader,
    SliceOperand,
    TensorSlice,
    call_from_header,
    check_names,
    pointer_of,
)
from service.codecs.json.document import read_document, read_extracted
from service.codecs.json.nested import check_size
from service.codecs.json.operands import ArrayOperand
from service.codecs.number_text import Extracted, OperandNames
from service.codecs.query import read_query
from service.codecs.request import check_fields, complete_call
from service.core.arithmetic import FIELDS
from service.core.call import AUTO, Call, Shape
from service.core.dtypes import DTYPES, Dtype, unsigned_hint
from service.core.validators import as_integer, boolean, integers, refuse
from service.errors import (
    DuplicateKeyError,
    InvalidFieldError,
    MalformedBodyError,
    Place,
    ShapeMismatchError,
    UnknownDtypeError,
    UnknownFieldError,
    did_you_mean,
    quote,
)
from service.registry import Op

RESULT: Final = "result"  # the name of the one output
DATATYPES: Final[Mapping[str, Dtype]] = {d.protocol: d for d in DTYPES.values() if d.protocol}
# The path has the model, too: `model_name` and `model_version` are accepted and ignored.
INPUTS_FIELD: Final = "inputs"
INPUTS: Final = OperandNames(None, INPUTS_FIELD)
KEYS: Final = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
INPUT_KEYS: Final = ("name", "shape", "datatype", "parameters", "data")
# Clients of MLServer send `content_type`, which is ignored: the type that an input was made from.
SIZE: Final = "binary_data_size"
INPUT_PARAMETERS: Final = (SIZE, "content_type")
# Triton's name for a deadline, in microseconds.
TIMEOUT: Final = "timeout"
BINARY: Final = "binary_data_output"


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A parsed request without the binary data that follow it.

    `header` has all inputs; the data of those in `arrays` are in the JSON, of the others in the
    body after it. `end` is the length that the body has to have. The result is sent as bytes if
    `is_binary`.
    """

    id: str | None
    is_binary: bool
    header: DecodedHeader
    arrays: Mapping[str, ArrayOperand]
    end: int

    def call(self, body: Body, op: Op[Any], context: DecodeContext) -> Call:
        """Return the call on the tensors of that body."""
        if len(body) != self.end:
            raise MalformedBodyError(
                f"the body has {len(body)} bytes; its JSON and the binary_data_size of its inputs "
                f"make {self.end}"
            )
        if not self.arrays:
            return call_from_header(self.header, repeat(body), op, context)
        operands = [
            self.arrays.get(name) or SliceOperand(tensor_slice, body, pointer)
            for name, pointer, tensor_slice in self.header.operands
        ]
        return complete_call(op, self.header.fields, operands, context)


def read_request(
    text: Body,
    op: Op[Any],
    context: DecodeContext,
    version: str,
    *,
    data_begin: int | None = None,
    extracted: Extracted | None = None,
) -> ParsedRequest:
    """Parse and check the JSON of a body, or raise a ServiceError.

    `data_begin` is the offset of the binary data in the body, if the request may have any. The
    arrays of the text may have been `extracted`.
    """
    fields = _object(_read_json(text, extracted, context), "the body")
    _refuse_unknown("an inference request", fields, KEYS)
    request_id = fields.get("id")
    if request_id is not None and not isinstance(request_id, str):
        refuse("id", request_id, "a string")
    parameters = _object(fields.get("parameters"), "parameters")
    binary_output = boolean(BINARY)(parameters.pop(BINARY, False))
    is_binary = _reads_bytes(fields.get("outputs"), default=binary_output)

    slices: dict[str, TensorSlice] = {}
    arrays: dict[str, ArrayOperand] = {}
    end = len(text) if data_begin is None else data_begin
    for index, value in enumerate(_list(fields.get("inputs"), "inputs")):
        where = f"inputs/{index}"
        entry = _object(value, where)
        name, dtype, shape, size = _described(entry, where)
        if name in slices:
            raise DuplicateKeyError(f"two inputs are named {quote(name)}", hint="send it once")
        pointer = pointer_of(name, op)
        check_size(shape, pointer, context)
        slices[name] = TensorSlice(dtype, shape, end)
        if "data" in entry:
            arrays[name] = ArrayOperand(entry["data"], pointer, context, dtype, shape)
        elif size and data_begin is None:
            _refuse(
                f"{where}/parameters/{SIZE}",
                "binary data follow JSON whose length is the header Inference-Header-Content-"
                "Length; the request has no such header",
            )
        else:
            end += size
    header = _decode_inputs(slices, parameters, op, context, version)
    return ParsedRequest(request_id, is_binary, header, arrays, end)


def _read_json(
    text: Body, extracted: Extracted | None, context: DecodeContext
) -> dict[str, object]:
    """Return the top-level fields, with the arrays that were extracted."""
    if extracted is not None:
        fields = read_extracted(extracted, None, context, list_field=INPUTS_FIELD)
        if fields is not None:
            return fields
    return read_document(text, None, context, list_field=INPUTS_FIELD)


def parameter_names(op: Op[Any]) -> tuple[str, ...]:
    """Return the names that parameters of a request may have."""
    own = (param.name for param in op.params)
    return (*own, "strategy", "device", "deadline_ms", *FIELDS, TIMEOUT, BINARY)


def _described(entry: dict[str, Any], where: str) -> tuple[str, Dtype, Shape, int]:
    """Return name, dtype and shape of an input, and the size of its binary data."""
    _refuse_unknown("an input", entry, INPUT_KEYS)
    name = entry.get("name")
    if not isinstance(name, str):
        _refuse(f"{where}/name", f"the name of an input is a string; it was {quote(name)}")
    shape = integers(entry.get("shape"))
    if shape is None or min(shape, default=0) < 0:
        _refuse(
            f"{where}/shape",
            f"shape is a list of integers from 0; for {quote(name)} it was "
            f"{quote(entry.get('shape'))}",
        )
    datatype = entry.get("datatype")
    dtype = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise UnknownDtypeError(
            f"input {quote(name)} has the datatype {quote(datatype)}; "
            f"choose one of {', '.join(DATATYPES)}",
            hint=unsigned_hint(datatype) if isinstance(datatype, str) else None,
            places=[Place(f"/{where}/datatype", "no such datatype")],
        )
    parameters = _object(entry.get("parameters"), f"{where}/parameters")
    if parameters:
        _refuse_unknown(f"parameters of input {quote(name)}", parameters, INPUT_PARAMETERS)
    stated = parameters.get(SIZE)
    size = as_integer(stated)
    if (stated is None) == ("data" not in entry):
        both = "neither data nor a" if stated is None else "both data and a"
        _refuse(where, f"input {quote(name)} has {both} {SIZE}; it needs one of them")
    wanted = prod(shape) * dtype.itemsize
    if stated is not None and size != wanted:
        raise ShapeMismatchError(
            f"input {quote(name)} of shape {quote(tuple(shape))} and datatype {datatype} takes "
            f"{quote(wanted)} bytes; its {SIZE} is {quote(stated)}",
            places=[Place(f"/{where}/parameters/{SIZE}", "not the size of the tensor")],
        )
    return name, dtype, shape, size or 0


def _decode_inputs(
    slices: Mapping[str, TensorSlice],
    parameters: dict[str, Any],
    op: Op[Any],
    context: DecodeContext,
    version: str,
) -> DecodedHeader:
    """Return the checked fields, and the inputs in the order of the operation's operands."""
    check_names(list(slices), op)
    names = op.operands if op.operands is not None else [str(index) for index in range(len(slices))]
    if op.operands is not None:
        _refuse_unknown(op.name, slices, op.operands)
    fields = check_fields(op, _fields(parameters, op, context, version), slices, context)
    dtypes = {tensor_slice.dtype.torch for tensor_slice in slices.values()}
    return DecodedHeader(
        fields,
        tuple((name, pointer_of(name, op), slices[name]) for name in names),
        uniform=len(dtypes) == 1,
    )


def _fields(
    parameters: dict[str, Any], op: Op[Any], context: DecodeContext, version: str
) -> dict[str, object]:
    """Return the parameters as fields of a call. A string is read like one in a query string."""
    _refuse_unknown(f"parameters of {op.name}", parameters, parameter_names(op))
    texts = {name: value for name, value in parameters.items() if isinstance(value, str)}
    fields = parameters | read_query(texts, op, context)
    fields = {name: value for name, value in fields.items() if value is not None}
    if version != AUTO:
        if "strategy" in fields:
            _refuse(
                "parameters/strategy",
                f"the version in the path, {version}, is the strategy; the parameters have one too",
            )
        fields["strategy"] = version
    if TIMEOUT in fields:
        if "deadline_ms" in fields:
            _refuse("parameters/timeout", "timeout and deadline_ms say the same; send one")
        stated = fields.pop(TIMEOUT)
        timeout = as_integer(stated)
        if timeout is None or timeout < 0:
            refuse(TIMEOUT, stated, "an integer of microseconds from 0")
        if timeout:  # 0 means no timeout
            fields["deadline_ms"] = min(-(-timeout // 1000), context.max_deadline_ms)
    return fields


def _reads_bytes(outputs: object, *, default: bool) -> bool:
    """Return whether the result is requested as bytes."""
    found = default
    for index, value in enumerate(_list(outputs, "outputs")):
        where = f"outputs/{index}"
        entry = _object(value, where)
        _refuse_unknown("a requested output", entry, ("name", "parameters"))
        if entry.get("name") != RESULT or index:
            _refuse(
                f"{where}/name",
                f"the one output is named {RESULT}; asked for was {quote(entry.get('name'))}"
                + (" as well" if index else ""),
            )
        parameters = _object(entry.get("parameters"), f"{where}/parameters")
        _refuse_unknown("parameters of an output", parameters, ("binary_data",))
        found = boolean("binary_data")(parameters.get("binary_data", default))
    return found


def _object(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(where, f"{where} is an object; it was {quote(value)}")
    return {name: each for name, each in value.items() if each is not None}


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        _refuse(where, f"{where} is a list; it was {quote(value)}")
    return value


def _refuse_unknown(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    names = tuple(known)
    unknown = next((name for name in found if name not in names), None)
    if unknown is not None:
        raise UnknownFieldError(
            f"{what} have no {quote(unknown)}; there are {', '.join(names)}"
            if what.startswith("parameters")
            else f"{what} has no {quote(unknown)}; it has {', '.join(names)}",
            hint=did_you_mean(unknown, names),
        )


def _refuse(where: str, why: str) -> NoReturn:
    raise InvalidFieldError(why, places=[Place(f"/{where}", "not as it should be")])
