"""Bodies in JSON to calls, and single operands to tensors."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import torch

from service.codecs import Body, DecodeContext, number_text
from service.codecs.json.codec import SHORT_BYTES, JsonCodec
from service.codecs.tensor_bytes import to_bytes
from service.core.call import Call, Tensor
from service.core.dtypes import DTYPES
from service.errors import ServiceError
from service.operations.matmul.strategies import op as matmul
from service.operations.norm.strategies import op as norm
from service.registry import Op

CODEC: Final = JsonCodec()
CONTEXT: Final = DecodeContext(max_elements=100_000, dtype=DTYPES["float32"], max_deadline_ms=1000)
OPERAND_CONTEXT: Final = DecodeContext(
    max_elements=1000, dtype=DTYPES["float32"], max_deadline_ms=1000
)
# White space is no part of the document, and makes it longer than what is always decoded at once.
PADDING: Final = b" " * SHORT_BYTES


@contextmanager
def without_compiled_code() -> Iterator[None]:
    """Read as where the extension module could not be built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_text, "compiled", None)
        yield


def decode(body: Body | str, op: Op[Any] = matmul, context: DecodeContext = CONTEXT) -> Call:
    """Return the call of a body."""
    return CODEC.decode(body.encode() if isinstance(body, str) else body, op, context)


def decode_error(
    body: Body | str, op: Op[Any] = matmul, context: DecodeContext = CONTEXT
) -> ServiceError:
    """Return the error that a body raises."""
    with pytest.raises(ServiceError) as caught:
        decode(body, op, context)
    return caught.value


def read(text: str, **fields: object) -> tuple[Tensor, tuple[str, ...]]:
    """Return the one operand `x` of a JSON text, and the warnings."""
    rest = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
    call = decode(f'{{"x": {text}{rest}}}', norm, OPERAND_CONTEXT)
    return call.operands[0], call.warnings


def read_error(text: str, **fields: object) -> ServiceError:
    """Return the error that operand `x` raises."""
    with pytest.raises(ServiceError) as caught:
        read(text, **fields)
    return caught.value


def bits(x: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    """Return a value equal for equal tensors; -0.0 differs from 0.0, and all NaN are equal."""
    if x.is_complex():
        return x.dtype, x.shape, bits(torch.view_as_real(x))[2]
    if x.is_floating_point():
        x = x.masked_fill(x.isnan(), math.nan)
    return x.dtype, x.shape, bytes(to_bytes(x))
