"""Test oracle of the fuzz tests: checks status and numbers of a response against numpy."""

import base64
import math
import warnings
from collections.abc import Mapping
from typing import Any, Final

import httpx
import numpy as np
import orjson
import torch

from service.core.dtypes import DTYPES
from tests.cases import COMPARISONS, REFERENCES, TOLERANCES, Array, floats, from_json
from tests.chaos.reference_json import RefusedError, UndecidedError
from tests.chaos.reference_parser import ParsedCall, parse
from tests.chaos.test_hostile_requests import problem
from tests.chaos.valid_requests import FuzzRequest
from tests.rigs.inference_bodies import parts, values_of
from tests.rigs.raw_http import RawResponse

# 406 where the format of the answer cannot hold its dtype.
REFUSED: Final = (400, 406, 413, 422)
# Numbers within these keep clear of overflow and underflow in sums of a few products of a few.
TAME: Final[Mapping[str, float]] = {
    "float16": 20.0, "bfloat16": 1e6, "float32": 1e6, "complex64": 1e6, "float64": 1e50,
    "complex128": 1e50,
}  # fmt: skip
MOST_WORK: Final = 2**18
UNDECIDED: Final = "undecided"
CHECKED: Final = "checked"


def check_response(sent: FuzzRequest, response: httpx.Response) -> str:
    """Return the status of an error, or whether the numbers of a result were checked.

    AssertionError if the response is wrong.
    """
    status = response.status_code
    if status != 200:
        assert status in REFUSED, f"status {status}"
        problem(RawResponse(status, dict(response.headers), response.content), b"")
        return str(status)
    try:
        parsed = parse(sent)
        expected, scale = _expected(parsed)
    except RefusedError as error:
        raise AssertionError(f"it was served, but must be refused: {error}") from None
    except UndecidedError:
        return UNDECIDED
    with np.errstate(all="ignore"):
        found, dtype = _found(sent, response, parsed)
    assert dtype == _result_dtype(parsed), f"dtype {dtype}"
    assert found.shape == expected.shape, f"shape {found.shape}, not {expected.shape}"
    if scale is None:
        return UNDECIDED
    _compare(found, expected, scale, dtype)
    return CHECKED


def _expected(parsed: ParsedCall) -> tuple[Array, Array | None]:
    """Return numpy's result, and by element how large the numbers are that it is computed from.

    The second is None where the result may overflow, or is more digits than int64 and float64 have.
    """
    if parsed.output not in ("nested", "flat", "base64"):
        raise UndecidedError(parsed.output)
    wide = [_wide(x) for x in parsed.operands]
    if math.prod(max(1, x.size) for x in wide) > MOST_WORK:
        raise UndecidedError("large")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = REFERENCES[parsed.op](wide, parsed.params)
            scale = _scale(parsed, wide, expected)
        except Exception as error:  # noqa: BLE001  # any error of numpy
            raise UndecidedError(str(error)) from None
    return expected, scale


def _wide(x: torch.Tensor) -> Array:
    kind = next(each.kind for each in DTYPES.values() if each.torch == x.dtype)
    wide = {"float": torch.float64, "integer": torch.int64, "complex": torch.complex128}
    return x.to(wide.get(kind, torch.bool)).numpy()


def _scale(parsed: ParsedCall, wide: list[Array], expected: Array) -> Array | None:
    function = parsed.params.get("op")
    moves = parsed.op == "broadcast" and (function is None or function in COMPARISONS)
    if moves or parsed.dtype == "bool":
        return np.zeros(())
    sizes = [np.abs(x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)) for x in wide]
    if parsed.dtype not in TAME:  # integers: exact while float64 can tell that int64 holds it all
        small = all(x.max(initial=0) < 2**15 for x in sizes)
        return np.zeros(()) if small and function not in ("div", "pow") else None
    limit = TAME[parsed.dtype]
    nonzero = [x[x != 0] for x in sizes]
    order = parsed.params.get("ord")
    if isinstance(order, int | float) and not 0.5 <= abs(order) <= 4 and order != 0:
        return None
    # Neither is a NaN.
    if not all((x <= limit).all() and (x >= 1 / limit).all() for x in nonzero):
        return None
    return np.asarray(_sum_of_sizes(parsed, sizes, expected))


def _sum_of_sizes(parsed: ParsedCall, sizes: list[Array], expected: Array) -> Any:
    """Return how large an intermediate sum can have been."""
    if parsed.op == "norm":
        return sizes[0].max(initial=0) * max(1, sizes[0].size)
    if parsed.op != "broadcast":
        return REFERENCES[parsed.op](sizes, parsed.params)
    if parsed.params["op"] in ("add", "sub"):
        return REFERENCES["broadcast"](sizes, {**parsed.params, "op": "add"})
    return np.abs(expected)


def _result_dtype(parsed: ParsedCall) -> str:
    real = {"complex64": "float32", "complex128": "float64"}
    if parsed.params.get("op") == "abs":
        return real.get(parsed.dtype, parsed.dtype)
    if parsed.op == "norm":
        integer = DTYPES[parsed.dtype].kind in ("integer", "bool")
        return "float64" if integer else real.get(parsed.dtype, parsed.dtype)
    return "bool" if parsed.params.get("op") in COMPARISONS else parsed.dtype


def _found(sent: FuzzRequest, response: httpx.Response, parsed: ParsedCall) -> tuple[Array, str]:
    """Return the values of the response and their dtype."""
    if sent.path.startswith("/v2/"):
        answer, data = parts(response)
        output = answer["outputs"][0]
        dtype = next(n for n, each in DTYPES.items() if each.protocol == output["datatype"])
        if "data" in output and DTYPES[dtype].kind == "float":
            return floats(output["data"]).reshape(output["shape"]), dtype
        return values_of(output, data), dtype
    result: dict[str, Any] = orjson.loads(response.content)["result"]
    if "b64" not in result:
        return from_json(result), result["dtype"]
    known = DTYPES[result["dtype"]]
    packed = bytearray(base64.b64decode(result["b64"]))
    flat = torch.empty(0, dtype=known.torch)
    if packed:
        flat = torch.frombuffer(packed, dtype=known.torch)
    return _wide(flat.reshape(result["shape"])), result["dtype"]


def _compare(found: Array, expected: Array, scale: Array, dtype: str) -> None:
    if dtype not in TOLERANCES:
        np.testing.assert_array_equal(found, expected)
        return
    if not np.isfinite(expected).all():
        return  # 0 to a negative power, and what numpy and torch make of it
    most = float(torch.finfo(DTYPES[dtype].torch).max)
    held = np.abs(expected) < most / 4
    rtol, _ = TOLERANCES[dtype]
    least = float(torch.finfo(DTYPES[dtype].torch).tiny) * 4
    near = np.abs(found - expected) <= rtol * np.maximum(scale, np.abs(expected)) + least
    assert (near | ~held).all(), f"{found} is not {expected}"
