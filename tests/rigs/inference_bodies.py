"""Bodies of the Open Inference Protocol, written and read by hand: JSON, and tensors as bytes."""

from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import torch

from service.core.dtypes import DTYPES
from tests.rigs.request_bodies import bits_of

Array = npt.NDArray[Any]

LENGTH: Final = "Inference-Header-Content-Length"
BYTES: Final = "application/octet-stream"
PROTOCOL: Final = [name for name, dtype in DTYPES.items() if dtype.protocol]


def tensor(values: Array, dtype: str) -> torch.Tensor:
    """Return `values` as a tensor of `dtype`."""
    return torch.as_tensor(values).to(DTYPES[dtype].torch)


def described(name: str, values: Array, dtype: str, **more: Any) -> dict[str, Any]:
    """Return an input without its data."""
    datatype = DTYPES[dtype].protocol
    return {"name": name, "shape": list(values.shape), "datatype": datatype, **more}


def as_json(inputs: dict[str, Array], dtype: str, **fields: Any) -> dict[str, Any]:
    """Return a request in JSON, its data flat."""
    listed = [
        described(name, values, dtype, data=values.reshape(-1).tolist())
        for name, values in inputs.items()
    ]
    return {"inputs": listed, **fields}


def as_bytes(inputs: dict[str, Array], dtype: str, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Return a request with binary data, and its headers."""
    blobs = [bits_of(tensor(values, dtype)) for values in inputs.values()]
    listed = [
        described(name, values, dtype, parameters={"binary_data_size": len(blob)})
        for (name, values), blob in zip(inputs.items(), blobs, strict=True)
    ]
    head = orjson.dumps({"inputs": listed, **fields})
    return b"".join([head, *blobs]), {LENGTH: str(len(head)), "Content-Type": BYTES}


def parts(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of a response, and the bytes after it."""
    length = int(response.headers.get(LENGTH, len(response.content)))
    answer = orjson.loads(response.content[:length])
    assert isinstance(answer, dict)
    return answer, response.content[length:]


def values_of(output: dict[str, Any], data: bytes) -> Array:
    """Return the values of an output, as exact int64, float64 or bool."""
    dtype = next(d for d in DTYPES.values() if d.protocol == output["datatype"])
    if "data" in output:
        flat = np.array(output["data"], bool if dtype.kind == "bool" else None)
        return flat.astype(np.float64 if dtype.kind == "float" else flat.dtype).reshape(
            output["shape"]
        )
    assert output["parameters"] == {"binary_data_size": len(data)}
    if not data:
        return np.empty(output["shape"])
    found = torch.frombuffer(bytearray(data), dtype=dtype.torch).reshape(output["shape"])
    wide = {"float": torch.float64, "bool": torch.bool}.get(dtype.kind, torch.int64)
    return found.to(wide).numpy()
