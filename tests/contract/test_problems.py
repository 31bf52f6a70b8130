"""Problems: code, place and hint of each error of a client, none of which is a 5xx."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from httpx import AsyncClient, Response

from service.registry import ErrorSample, Op
from tests.cases import error_samples, named, to_json

JSON = "application/json"
A, B = b'{"a":', b',"b":[1]}'
HUGE = b"9" * 5000


def assert_problem(response: Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, which is complete and small."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert len(response.content) <= 8192
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code, problem
    assert problem["type"] == f"/problems/{code}"
    assert problem["status"] == status
    assert problem["instance"].startswith("urn:uuid:")
    assert problem["title"]
    assert problem["detail"]
    known = {"type", "title", "status", "code", "detail", "hint", "errors", "instance"}
    assert set(problem) <= known
    assert len(problem.get("errors", [])) <= 20
    for place in problem.get("errors", []):
        assert set(place) == {"pointer", "detail"}
        assert place["pointer"] == "" or place["pointer"].startswith("/")
    return problem


@pytest.mark.parametrize(
    ("op", "refusal"),
    [
        pytest.param(op, each, id=f"{op.name}-{each.name.replace(' ', '_')}")
        for op, each in error_samples()
    ],
)
async def test_a_refusal_of_the_table(
    client: AsyncClient, op: Op[Any], refusal: ErrorSample
) -> None:
    """Every strategy refuses what its operation refuses, with the same code."""
    body = {
        **named(op, [to_json(np.ones(shape), "float32") for shape in refusal.shapes]),
        **refusal.params,
    }
    for strategy in ("auto", *op.strategies):
        response = await client.post(f"/{op.name}", json=body | {"strategy": strategy})
        assert_problem(response, 422, refusal.code)


@dataclass(frozen=True)
class Hostile:
    """A request and the problem that it must get."""

    name: str
    path: str
    body: bytes | Mapping[str, Any]
    status: int
    code: str
    pointer: str | None = None
    hint: str | None = None
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


def bad_json(name: str, body: bytes, detail: str = "", hint: str | None = None) -> Hostile:
    """A body that is not JSON."""
    return Hostile(name, "/matmul", body, 400, "malformed-json", None, hint, detail)


def element(name: str, data: object, code: str, pointer: str, **more: Any) -> Hostile:
    """A tensor `a` that cannot be read, and the pointer of the first wrong place."""
    fields = more.pop("fields", {})
    body = {"a": data, "b": [1, 1], **fields}
    return Hostile(name, "/matmul", body, 422, code, pointer, **more)


def wrong(
    name: str, fields: Mapping[str, Any], code: str, pointer: str | None, **more: Any
) -> Hostile:
    """A product with one more field that cannot be used."""
    path = more.pop("path", "/matmul")
    body: dict[str, Any] = {"a": [1], "b": [1]} if path == "/matmul" else {}
    return Hostile(name, path, {**body, **fields}, 422, code, pointer, **more)


def sent(name: str, headers: Mapping[str, str], status: int, code: str, **more: Any) -> Hostile:
    """A good product under headers that cannot be served."""
    return Hostile(name, "/matmul", {"a": [1], "b": [1]}, status, code, headers=headers, **more)


TABLE = [
    # The text
    bad_json("nothing", b"", "empty"),
    bad_json("blanks", b" \n\t", "empty"),
    bad_json("cut in an array", b'{"a": [1, 2', "character 11"),
    bad_json("cut in a string", b'{"a'),
    bad_json("cut after a key", b'{"a":'),
    bad_json("a trailing comma", b'{"a": [1,], "b": [1]}', "line 1, column 9"),
    bad_json("a mistake in line 3", b'{\n"a": [1],\n"b": [1 2]}', "line 3"),
    bad_json("a second document", b'{"a":[1],"b":[1]} {}'),
    bad_json("single quotes", b"{'a': [1]}"),
    bad_json("a bare word", b"{a: [1]}"),
    bad_json("a comment", b'{"a": [1], // one\n"b": [1]}'),
    bad_json("hexadecimal", b'{"a":[0x10],"b":[1]}'),
    bad_json("a leading zero", b'{"a":[01],"b":[1]}'),
    bad_json("a plus sign", b'{"a":[+1],"b":[1]}'),
    bad_json("a bare point", b'{"a":[.5],"b":[1]}'),
    bad_json("a point at the end", b'{"a":[1.],"b":[1]}'),
    bad_json("a cut exponent", b'{"a":[1e],"b":[1]}'),
    bad_json("NaN", b'{"a":[NaN],"b":[1]}', hint='"NaN"'),
    bad_json("Infinity", b'{"a":[Infinity],"b":[1]}', hint='"Infinity"'),
    bad_json("-Infinity", b'{"a":[-Infinity],"b":[1]}', hint='"-Infinity"'),
    bad_json("NaN in a large body", A + b"[" + b"1," * 3000 + b"NaN]" + B, hint='"NaN"'),
    bad_json("a mistake in a large body", A + b"[" + b"1," * 3000 + b"]" + B, "character 6005"),
    bad_json("a control character", b'{"a\n":[1]}'),
    bad_json("a wrong escape", b'{"\\x61":[1],"b":[1]}'),
    bad_json("half of a pair of escapes", b'{"\\ud800":[1],"b":[1]}'),
    bad_json("a byte order mark", b'\xef\xbb\xbf{"a":[1],"b":[1]}', "byte order mark"),
    bad_json("a zero byte", b'{"a":[1],"b":[1]}\x00'),
    bad_json("the text of a form", b"a=1&b=2"),
    Hostile("Latin-1", "/matmul", b'{"\xe9":1}', 400, "invalid-utf8", detail="0xe9"),
    Hostile("UTF-16", "/matmul", '{"a":1}'.encode("utf-16-le"), 400, "malformed-json"),
    Hostile("a surrogate in UTF-8", "/matmul", b'{"\xed\xa0\x80":1}', 400, "invalid-utf8"),
    # Keys
    Hostile("a key twice", "/matmul", b'{"a":[1],"a":[1],"b":[1]}', 400, "duplicate-key", "/a"),
    Hostile(
        "a key twice by escape",
        "/matmul",
        b'{"a":[1],"\\u0061":[1],"b":[1]}',
        400,
        "duplicate-key",
        "/a",
    ),
    Hostile(
        "a key of a tensor twice",
        "/matmul",
        b'{"a":{"data":[1],"data":[2]},"b":[1]}',
        400,
        "duplicate-key",
        "/a/data",
    ),
    Hostile(
        "a key of a tensor in a list twice by escape",
        "/broadcast",
        b'{"operands":[{"data":[1],"d\\u0061ta":[2]}],"to":[1]}',
        400,
        "duplicate-key",
        "/operands/0/data",
    ),
    Hostile(
        "a key twice in a large body",
        "/matmul",
        b'{"a":[' + b"1," * 3000 + b'1],"b":[1],"b":[1]}',
        400,
        "duplicate-key",
        "/b",
    ),
    # Nesting
    Hostile(
        "nested deep", "/matmul", A + b"[" * 65 + b"1" + b"]" * 65 + B, 400, "nesting-too-deep"
    ),
    Hostile(
        "nested very deep",
        "/matmul",
        A + b"[" * 100_000 + b"]" * 100_000 + B,
        400,
        "nesting-too-deep",
    ),
    Hostile("opened very deep", "/matmul", b"[" * 200_000, 400, "nesting-too-deep"),
    Hostile(
        "objects very deep",
        "/matmul",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        400,
        "nesting-too-deep",
    ),
    Hostile(
        "an optimizer nested deep",
        "/einsum",
        b'{"equation":"i","operands":[[1]],"optimize":' + b"[" * 70 + b"]" * 70 + b"}",
        400,
        "nesting-too-deep",
    ),
    # The document
    *(
        Hostile(f"the body is {text.decode()}", "/matmul", text, 422, "invalid-field", "")
        for text in (b"null", b"true", b"1", b'"a"', b"[]", b"[[1]]")
    ),
    Hostile("an empty object", "/matmul", {}, 422, "missing-field", "/a"),
    Hostile("b is missing", "/matmul", {"a": [1]}, 422, "missing-field", "/b"),
    Hostile("operands are missing", "/broadcast", {"op": "add"}, 422, "missing-field", "/operands"),
    Hostile("no operands", "/broadcast", {"operands": []}, 422, "invalid-field", "/operands"),
    Hostile(
        "operands are an object",
        "/einsum",
        {"operands": {}, "equation": ""},
        422,
        "invalid-field",
        "/operands",
    ),
    Hostile(
        "a hundred operands",
        "/broadcast",
        {"operands": [1] * 100, "op": "add"},
        422,
        "limit-exceeded",
        "/operands",
    ),
    # Fields
    wrong("a field misspelt", {"stratgy": "torch"}, "unknown-field", "/stratgy", hint="strategy"),
    wrong("a field of another operation", {"equation": "ij"}, "unknown-field", "/equation"),
    wrong("a field with a slash", {"a/b~": 1}, "unknown-field", "/a~1b~0"),
    wrong("a hundred unknown fields", {f"f{n}": 1 for n in range(100)}, "unknown-field", "/f0"),
    wrong("a long name", {"x" * 10_000: 1}, "unknown-field", None),
    wrong("names not in ASCII", {"é" * 5000 + str(n): 1 for n in range(50)}, "unknown-field", None),
    wrong("names of quotes", {'"\\' * 500 + str(n): 1 for n in range(50)}, "unknown-field", None),
    wrong("names of zeros", {"\0" * 500 + str(n): 1 for n in range(50)}, "unknown-field", None),
    wrong("a strategy misspelt", {"strategy": "tourch"}, "unknown-strategy", None, hint="torch"),
    wrong(
        "a strategy of another operation",
        {"strategy": "scaled"},
        "unknown-strategy",
        None,
        detail="loops",
    ),
    wrong("a long strategy", {"strategy": "t" * 9999}, "invalid-field", "/strategy"),
    wrong("a strategy that is a number", {"strategy": 1}, "invalid-field", "/strategy"),
    wrong("a dtype misspelt", {"dtype": "float23"}, "unknown-dtype", "/dtype", hint="float32"),
    wrong("a dtype that is a number", {"dtype": 32}, "unknown-dtype", "/dtype", detail="float32"),
    wrong("a dtype that is a list", {"dtype": ["float32"]}, "unknown-dtype", "/dtype"),
    wrong("an absent device", {"device": "cuda:63"}, "device-unavailable", None, detail="cpu"),
    wrong("no device", {"device": "tpu"}, "device-unavailable", None, detail="cpu"),
    wrong("a device that is a number", {"device": 0}, "invalid-field", "/device"),
    wrong("a device with an escape", {"device": "cpu\n"}, "device-unavailable", None),
    wrong("an output misspelt", {"output": "nestd"}, "invalid-field", "/output", hint="nested"),
    *(
        wrong(f"a deadline of {value!r}", {"deadline_ms": value}, "invalid-field", "/deadline_ms")
        for value in (0, -1, 30_001, 1.5, True, "100", 10**30)
    ),
    # Elements
    element("a null", [[1, 2], [None, 4]], "invalid-element", "/a/1/0", hint="NaN"),
    element("a boolean among numbers", [[1, True]], "invalid-element", "/a/0/1"),
    element("booleans", [True, False], "invalid-element", "/a/0", hint="bool"),
    element(
        "booleans beside a dtype that is null",
        [True, False],
        "invalid-element",
        "/a/0",
        hint="bool",
        fields={"dtype": None},
    ),
    element("a number as text", [1, "2"], "invalid-element", "/a/1", hint="quotes"),
    element("nan in small letters", ["nan", 1], "invalid-element", "/a/0"),
    element("an object in a row", [1, {}], "invalid-element", "/a/1"),
    element("an object alone in a row", [{"data": [1]}], "invalid-element", "/a/0"),
    element("a null alone", None, "invalid-element", "/a"),
    element(
        "a null deep in a large array",
        [[1] * 50] * 50 + [[1] * 49 + [None]],
        "invalid-element",
        "/a/50/49",
    ),
    element("a boolean in a large array", [1] * 3000 + [False], "invalid-element", "/a/3000"),
    element("text in a large array", [1.5] * 3000 + ["x"], "invalid-element", "/a/3000"),
    element("numbers for bool", [1, 0], "invalid-element", "/a/0", fields={"dtype": "bool"}),
    element("text for integers", ["1.5", "2"], "invalid-element", "/a/0", fields={"dtype": "int8"}),
    element("NaN for integers", ["NaN", 1], "invalid-element", "/a/0", fields={"dtype": "int64"}),
    element(
        "a row too long",
        [[1, 2], [3, 4], [5, 6], [7, 8, 9]],
        "ragged-array",
        "/a/3",
        detail="row 3 has 3 items, row 0 has 2",
    ),
    element("a row too short, deep", [[[1], [2]], [[3], []]], "ragged-array", "/a/1/1"),
    element("a number among rows", [[1, 2], 3], "ragged-array", "/a/1"),
    element("a row among numbers", [1, [2]], "ragged-array", "/a/1"),
    element("a row too long in a large array", [[1, 2]] * 999 + [[1]], "ragged-array", "/a/999"),
    element(
        "too large for int8",
        [1, 300],
        "value-out-of-range",
        "/a/1",
        hint="int16",
        fields={"dtype": "int8"},
    ),
    element(
        "negative for uint8",
        [-1, 1],
        "value-out-of-range",
        "/a/0",
        hint="int16",
        fields={"dtype": "uint8"},
    ),
    element(
        "too large for int64",
        [2**63, 1],
        "value-out-of-range",
        "/a/0",
        hint="float64",
        fields={"dtype": "int64"},
    ),
    element(
        "text too large for int64",
        [str(2**63), 1],
        "value-out-of-range",
        "/a/0",
        fields={"dtype": "int64"},
    ),
    element(
        "a fraction for integers",
        [1, 1.5],
        "value-out-of-range",
        "/a/1",
        hint="float64",
        fields={"dtype": "int32"},
    ),
    element(
        "a float beyond 2^53 for int64",
        [1e17, 1],
        "value-out-of-range",
        "/a/0",
        fields={"dtype": "int64"},
    ),
    element(
        "too large for float16",
        [65520.0, 1],
        "value-out-of-range",
        "/a/0",
        hint="float32",
        fields={"dtype": "float16"},
    ),
    element("too large for float32", [1e39, 1], "value-out-of-range", "/a/0", hint="float64"),
    Hostile(
        "too large for float64",
        "/matmul",
        b'{"a":[1e999],"b":[1]}',
        422,
        "value-out-of-range",
        "/a/0",
    ),
    Hostile(
        "5000 digits", "/matmul", A + b"[" + HUGE + b"]" + B, 422, "value-out-of-range", "/a/0"
    ),
    Hostile(
        "5000 digits as a deadline",
        "/matmul",
        b'{"a":[1],"b":[1],"deadline_ms":' + HUGE + b"}",
        422,
        "invalid-field",
        "/deadline_ms",
    ),
    Hostile(
        "5000 digits as an order",
        "/norm",
        b'{"x":[1],"ord":' + HUGE + b"}",
        422,
        "invalid-field",
        "/ord",
    ),
    Hostile(
        "5000 digits as an axis",
        "/norm",
        b'{"x":[1],"dim":' + HUGE + b"}",
        422,
        "invalid-field",
        "/dim",
    ),
    Hostile(
        "5000 digits as a size",
        "/broadcast",
        b'{"operands":[1],"to":[' + HUGE + b"]}",
        422,
        "invalid-field",
        "/to",
    ),
    element(
        "no pairs",
        [1, 2, 3],
        "invalid-element",
        "/a",
        detail="pairs",
        fields={"dtype": "complex64"},
    ),
    element("a single complex number", 1, "invalid-element", "/a", fields={"dtype": "complex64"}),
    # Tensor objects
    element("an empty tensor object", {}, "missing-field", "/a/data"),
    element("a wrong key", {"data": [1], "shpe": [1]}, "unknown-field", "/a/shpe", hint="shape"),
    element(
        "data and b64",
        {"data": [1], "b64": "", "shape": [1], "dtype": "int8"},
        "invalid-field",
        "/a/b64",
    ),
    element("b64 without dtype", {"shape": [1], "b64": "AAAA"}, "missing-field", "/a/dtype"),
    element("b64 without shape", {"dtype": "int8", "b64": "AA=="}, "missing-field", "/a/shape"),
    element("b64 is no text", {"shape": [1], "dtype": "int8", "b64": 1}, "invalid-field", "/a/b64"),
    element(
        "b64 of other letters",
        {"shape": [1], "dtype": "int8", "b64": "A!=="},
        "invalid-field",
        "/a/b64",
    ),
    element(
        "b64 without padding",
        {"shape": [1], "dtype": "int8", "b64": "AA"},
        "invalid-field",
        "/a/b64",
    ),
    element(
        "b64 of URLs", {"shape": [3], "dtype": "int8", "b64": "-_-_"}, "invalid-field", "/a/b64"
    ),
    element(
        "b64 with a line break",
        {"shape": [3], "dtype": "int8", "b64": "AA\nAA"},
        "invalid-field",
        "/a/b64",
    ),
    element(
        "b64 not in ASCII",
        {"shape": [3], "dtype": "int8", "b64": "ÄÄÄÄ"},
        "invalid-field",
        "/a/b64",
    ),
    element(
        "b64 too short",
        {"shape": [2], "dtype": "float32", "b64": "AAAAAA=="},
        "shape-mismatch",
        "/a/b64",
    ),
    element(
        "b64 too long", {"shape": [1], "dtype": "int8", "b64": "AAAA"}, "shape-mismatch", "/a/b64"
    ),
    element(
        "b64 of 2 for bool",
        {"shape": [1], "dtype": "bool", "b64": "Ag=="},
        "invalid-element",
        "/a/b64",
    ),
    element("a shape of text", {"shape": "1", "data": [1]}, "invalid-field", "/a/shape"),
    element("a negative size", {"shape": [1, -1], "data": [1]}, "invalid-field", "/a/shape/1"),
    element("a size that is true", {"shape": [True], "data": [1]}, "invalid-field", "/a/shape/0"),
    element("a size of 2.5", {"shape": [2.5], "data": [1, 2]}, "invalid-field", "/a/shape/0"),
    element("data that are null", {"shape": [2], "data": None}, "missing-field", "/a/data"),
    element("a shape of others", {"shape": [3], "data": [1, 2]}, "shape-mismatch", "/a/data"),
    element(
        "a dtype that does not exist", {"dtype": "f32", "data": [1]}, "unknown-dtype", "/a/dtype"
    ),
    element(
        "a huge shape",
        {"shape": [2**40, 2**40], "dtype": "int8", "b64": ""},
        "limit-exceeded",
        "/a",
    ),
    element("a shape without data", {"shape": [2]}, "missing-field", "/a/data"),
    # Equations, and the like
    wrong(
        "a wrong arrow",
        {"operands": [[[1]], [[1]]], "equation": "ik,kj>ij"},
        "invalid-equation",
        "/equation",
        path="/einsum",
        hint="->",
        detail="position 5",
    ),
    wrong(
        "a long equation",
        {"operands": [1], "equation": "," * 501},
        "invalid-field",
        "/equation",
        path="/einsum",
    ),
    wrong(
        "an equation of zeros",
        {"operands": [1], "equation": "\0" * 400},
        "invalid-equation",
        "/equation",
        path="/einsum",
    ),
    wrong(
        "letters of others",
        {"operands": [[1]], "equation": "ß->"},
        "invalid-equation",
        "/equation",
        path="/einsum",
    ),
    wrong(
        "a path of negatives",
        {"operands": [[1], [1]], "equation": "i,i", "optimize": [[0, -1]]},
        "invalid-field",
        "/optimize",
        path="/einsum",
    ),
    wrong(
        "a path of one",
        {"operands": [[1], [1]], "equation": "i,i", "optimize": [[10**40]]},
        "invalid-field",
        "/optimize",
        path="/einsum",
    ),
    wrong(
        "an op misspelt",
        {"operands": [1, 1], "op": "ad"},
        "invalid-field",
        "/op",
        path="/broadcast",
        hint="add",
    ),
    wrong(
        "a view misspelt",
        {"operands": [[1]], "to": [1], "views": ["None:"]},
        "invalid-field",
        "/views/0",
        path="/broadcast",
    ),
    wrong(
        "two ellipses",
        {"operands": [[1]], "to": [1], "views": ["...,..."]},
        "invalid-field",
        "/views/0",
        path="/broadcast",
    ),
    wrong(
        "bool to add",
        {"operands": [[True], [True]], "op": "add", "dtype": "bool"},
        "dtype-unsupported",
        None,
        path="/broadcast",
        hint="int64",
    ),
    wrong(
        "complex in order",
        {"operands": [[[1, 1]], [[1, 1]]], "op": "lt", "dtype": "complex64"},
        "dtype-unsupported",
        None,
        path="/broadcast",
    ),
    wrong(
        "an order beyond float64",
        {"x": [1]},
        "invalid-field",
        "/ord",
        path="/norm?ord=1e400",
        detail="it was a number beyond 1.8e308",
    ),
    Hostile(
        "an order beyond float64 in the body",
        "/norm",
        b'{"x":[1],"ord":-1e400}',
        422,
        "invalid-field",
        "/ord",
        detail="it was a number beyond -1.8e308",
    ),
    element(
        "a size beyond 64 bits",
        {"shape": [2**64], "data": [1]},
        "invalid-field",
        "/a/shape/0",
        detail="integers from 0, below 2^64",
    ),
    element(
        "fewer numbers than the shape has",
        {"shape": [2], "data": [1]},
        "shape-mismatch",
        "/a/data",
        hint="one flat list of 2 numbers",
        detail="its data has shape (1,), not (2,)",
    ),
    element(
        "more numbers than the shape has",
        {"shape": [1], "data": [1, 2]},
        "shape-mismatch",
        "/a/data",
        hint="one flat list of 1 number",
    ),
    element(
        "numbers in place of pairs",
        {"shape": [1], "dtype": "complex64", "data": [1]},
        "shape-mismatch",
        "/a/data",
        hint="with a pair [re, im] for each number",
        detail="its data has shape (1,), not (1, 2) or (2,)",
    ),
    element(
        "a word in place of lists",
        {"shape": [1], "data": "x"},
        "invalid-element",
        "/a/data",
        hint="quotes",
        detail="the string 'x'",
    ),
    element(
        "a word in place of integers",
        {"shape": [1], "dtype": "int8", "data": "x"},
        "invalid-element",
        "/a/data",
    ),
    element(
        "an integer in place of a list",
        {"shape": [1], "dtype": "int8", "data": "5"},
        "shape-mismatch",
        "/a/data",
    ),
    element(
        "an object in place of lists",
        {"shape": [1], "data": {"a": 1}},
        "invalid-element",
        "/a/data",
        detail="an object",
    ),
    wrong(
        "a boolean axis",
        {"x": [1], "dim": True},
        "invalid-field",
        "/dim",
        path="/norm",
        detail="it was true",
    ),
    wrong(
        "an object as axes",
        {"x": [1], "dim": {"a": [None]}},
        "invalid-field",
        "/dim",
        path="/norm",
        detail='it was {"a": [null]}',
    ),
    wrong(
        "exp of integers",
        {"operands": [{"dtype": "int64", "data": [2]}], "op": "exp", "dtype": "float32"},
        "dtype-unsupported",
        None,
        path="/broadcast",
        hint='send the operand with "dtype": "float32"',
    ),
    wrong(
        "the norm of bool",
        {"x": [True], "dtype": "bool"},
        "dtype-unsupported",
        None,
        path="/norm",
        hint="float32",
    ),
    wrong(
        "the norm of a NaN by singular values",
        {"x": [["NaN"]], "ord": 2},
        "value-out-of-range",
        None,
        path="/norm",
    ),
    # Headers
    sent(
        "a form",
        {"Content-Type": "application/x-www-form-urlencoded"},
        415,
        "unsupported-media-type",
        hint="Content-Type: application/json",
    ),
    sent(
        "a multipart form",
        {"Content-Type": "multipart/form-data; boundary=x"},
        415,
        "unsupported-media-type",
        hint="application/json",
    ),
    sent("plain text", {"Content-Type": "text/plain"}, 415, "unsupported-media-type", detail=JSON),
    sent(
        "a pickle",
        {"Content-Type": "application/x-pickle"},
        415,
        "unsupported-media-type",
        detail=JSON,
    ),
    sent("no type", {"Content-Type": ""}, 415, "unsupported-media-type"),
    sent("an encoding", {"Content-Encoding": "br"}, 415, "unsupported-media-type", detail="br"),
    sent("two encodings", {"Content-Encoding": "br, br"}, 415, "unsupported-media-type"),
    sent(
        "XML wanted", {"Accept": "text/html, application/xml"}, 406, "not-acceptable", detail=JSON
    ),
    sent("nothing wanted", {"Accept": "*/*;q=0"}, 406, "not-acceptable", hint=JSON),
    sent("all but JSON wanted", {"Accept": "application/json;q=0, text/*"}, 406, "not-acceptable"),
    sent("a long Accept", {"Accept": "x/y," * 2000}, 406, "not-acceptable"),
    sent("a quality below 0", {"Accept": "application/json;q=-1"}, 406, "not-acceptable"),
    # Methods and paths
    *(
        Hostile(
            f"{method} of an operation",
            "/matmul",
            b"",
            405,
            "method-not-allowed",
            method=method,
            detail="POST",
        )
        for method in ("GET", "PUT", "DELETE", "PATCH", "BREW")
    ),
    Hostile("POST of the health", "/health/live", b"", 405, "method-not-allowed", detail="GET"),
    Hostile("a path misspelt", "/matmull", {"a": [1], "b": [1]}, 404, "not-found", hint="/matmul"),
    Hostile("POST of the lab page", "/", b"", 405, "method-not-allowed", detail="GET"),
    Hostile("a folder", "/lab/", b"", 404, "not-found", method="GET", detail="/docs"),
    Hostile("a path of the file system", "/../../etc/passwd", b"", 404, "not-found", method="GET"),
    Hostile("a path with escapes", "/%00%ff%0d%0a", b"", 404, "not-found", method="GET"),
    Hostile("a long path", "/" + "x" * 5000, b"", 404, "not-found", method="GET"),
    Hostile(
        "no problem",
        "/problems/shape-mismatc",
        b"",
        404,
        "not-found",
        method="GET",
        hint="shape-mismatch",
    ),
]


@pytest.mark.parametrize("case", [pytest.param(each, id=each.name) for each in TABLE])
async def test_a_hostile_request(client: AsyncClient, case: Hostile) -> None:
    """It gets the problem with its code, place and hint."""
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    headers = {"Content-Type": JSON, **case.headers}
    response = await client.request(case.method, case.path, content=body, headers=headers)
    problem = assert_problem(response, case.status, case.code)
    assert case.detail in problem["detail"]
    if case.pointer is not None:
        assert problem["errors"][0]["pointer"] == case.pointer
    if case.hint is not None:
        assert case.hint in problem["hint"]
    if case.status == 405:
        assert "OPTIONS" in response.headers["Allow"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"strategy": None}, id="a strategy that is null"),
        pytest.param({"output": None}, id="an output that is null"),
        pytest.param({"a": {"shape": [2.0], "data": [1, 2]}}, id="a size of 2.0"),
    ],
)
async def test_null_is_absent_and_2_0_an_integer(
    client: AsyncClient, fields: dict[str, Any]
) -> None:
    """The result is that of the request without null, and with 2."""
    body = {"a": [1, 2], "b": [1, 1]}
    plain = await client.post("/matmul", json=body)
    response = await client.post("/matmul", json=body | fields)
    assert response.status_code == 200, response.text
    same = ("result", "strategy", "device", "warnings")
    assert [response.json()[name] for name in same] == [plain.json()[name] for name in same]


def test_the_table_of_hostile_requests_is_long() -> None:
    """It has as many rows as before, or more."""
    assert len(TABLE) > 80
