"""Apps that the service is measured against, each run by uvicorn in a process of its own.

`usual` is the straightforward app with FastAPI: a pydantic model of nested lists, validated element
by element. `tuned` is the fastest that was written by hand: bare ASGI, a SIMD parser in, the
array written straight to text out, and no validation at all.
"""

from typing import Any

import numpy as np
import orjson
import simdjson
import torch
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

torch.set_grad_enabled(False)
torch.set_num_threads(1)

usual = FastAPI()


class Operands(BaseModel):
    """Two matrices."""

    a: list[list[float]]
    b: list[list[float]]


class Product(BaseModel):
    """Their product."""

    result: list[list[float]]


@usual.post("/matmul", response_model=Product)
async def matmul(operands: Operands) -> dict[str, Any]:
    """The product, by way of lists."""
    a = torch.tensor(operands.a, dtype=torch.float64)
    b = torch.tensor(operands.b, dtype=torch.float64)
    return {"result": (a @ b).tolist()}


_parser = simdjson.Parser()


async def tuned(scope: Scope, receive: Receive, send: Send) -> None:
    """POST /matmul in JSON, and POST /raw: two square float64 matrices, one after the other."""
    if scope["type"] != "http":
        return
    body = await _read(receive)
    content: bytes | memoryview
    if scope["path"] == "/raw":
        half = len(body) // 2
        n = round((half // 8) ** 0.5)
        a = torch.frombuffer(body, dtype=torch.float64, count=n * n).reshape(n, n)
        b = torch.frombuffer(body, dtype=torch.float64, offset=half).reshape(n, n)
        content, media_type = (
            torch.mm(a, b).numpy().data.cast("B"),
            b"application/octet-stream",
        )
    else:
        document: Any = _parser.parse(body)
        a, b = _matrix(document["a"]), _matrix(document["b"])
        del document
        text = orjson.dumps(torch.mm(a, b).numpy(), option=orjson.OPT_SERIALIZE_NUMPY)
        content, media_type = b'{"result":' + text + b"}", b"application/json"
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _read(receive: Receive) -> bytearray:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _matrix(array: Any) -> torch.Tensor:
    flat = np.frombuffer(array.as_buffer(of_type="d"))
    return torch.from_numpy(flat.reshape(len(array), -1))
