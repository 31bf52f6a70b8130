"""The call of the page as a program of torch: run, it gives what the service answers."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.core.dtypes import DTYPES
from tests.browser.conftest import Visit
from tests.browser.test_files import npy

Operand = str | dict[str, str]
Call = tuple[str, list[Operand], dict[str, Any]]

COMPUTE = """async (calls) => {
    const body = await import("/lab/any/body.js");
    const operands = await import("/lab/any/operand.js");
    const { readNpy } = await import("/lab/any/npy.js");
    const { snippet } = await import("/lab/any/snippets.js");
    const { start } = await import("/lab/any/state.js");
    const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const operandOf = (given) => {
        if (typeof given === "string") return operands.undescribe(given);
        if (given.long) return operands.long("pasted", given.long);
        if (given.bytes) {
            const shape = JSON.parse(given.shape);
            return operands.stored("an earlier result", given.dtype, shape, bytesOf(given.bytes));
        }
        const { dtype, shape, bytes } = readNpy(bytesOf(given.npy).buffer);
        const operand = operands.stored("a.npy", dtype, shape, bytes);
        return given.transposed ? operands.transposedOperand(operand) : operand;
    };
    const asked = async (path, headers, content) => {
        const response = await fetch(`/${path}`, { method: "POST", headers, body: content });
        return response.json();
    };
    const computed = async ([op, given, fields]) => {
        const first = start(op);
        const params = { ...first.params, ...fields.params };
        const state = { ...first, ...fields, operands: given.map(operandOf), params };
        const tensors = state.operands.map((each) => operands.tensorOf(each, state.dtype));
        const type = { "Content-Type": "application/json" };
        const plan = await asked(`${op}/plan`, type, body.planBody(state, tensors));
        const { path, headers, body: content } = body.request(state, tensors);
        const answer = await asked(path, headers, content);
        if (!plan.reproduce || !answer.result) return { plan, answer };
        const { text, files } = snippet("torch", state, tensors, plan);
        const saved = {};
        for (const file of files ?? []) {
            const data = new Uint8Array(await new Blob([file.body()]).arrayBuffer());
            saved[file.name] = btoa(Array.from(data, (each) => String.fromCharCode(each)).join(""));
        }
        return { plan, answer, text, saved };
    };
    const answers = [];
    for (const call of calls) answers.push(await computed(call));
    return answers;
}"""


def saved(array: np.ndarray[Any, Any], **more: str) -> dict[str, str]:
    """An operand of an npy file."""
    return {"npy": base64.b64encode(npy(array)).decode(), **more}


def result(tensor: torch.Tensor) -> dict[str, str]:
    """An operand that is an earlier result in bfloat16."""
    data = tensor.view(torch.uint16).numpy().tobytes()
    shape = str(list(tensor.shape))
    return {"bytes": base64.b64encode(data).decode(), "dtype": "bfloat16", "shape": shape}


def text(*shape: int, fraction: bool = True) -> dict[str, str]:
    """An operand of a long text."""
    numbers = np.random.default_rng(3).integers(-9, 10, shape) + (0.1 if fraction else 0)
    rows = numbers.reshape(-1, shape[-1])
    return {"long": "\n".join(",".join(str(each) for each in row) for row in rows)}


DRAW = np.random.default_rng(7)
WIDE = DRAW.standard_normal((30, 30))
BRAIN = torch.from_numpy(WIDE).to(torch.bfloat16)
COMPLEX = "[1+2j, -3.5j]\n"
PAIRS = "[[[1, 2], [3, -4]], [[0.5, 6], [7, 8]]]"

CALLS: dict[str, Call] = {
    "typed": ("matmul", ["1 2\n3 4", "0.1 0.2\n0.3 -0"], {}),
    **{
        f"typed {dtype}": ("matmul", ["1 2\n3 4", "5 6\n7 8"], {"dtype": dtype})
        for dtype in DTYPES
        if dtype != "bool" and not dtype.startswith("complex")
    },
    "decimal comma": ("norm", ["1,5\t\n2\t3"], {"params": {"ord": "inf"}}),
    "nonfinite": ("broadcast", ["nan inf -inf -0", "1"], {"params": {"op": "mul"}}),
    "whole numbers": ("broadcast", ["9007199254740993 1", "1"], {"dtype": "int64"}),
    "stated": ("matmul", ["array([[1, 2], [3, 4]], dtype=float64)", "[[0.1, 1], [2, 3]]"], {}),
    "booleans": (
        "broadcast",
        ["true false", "true true"],
        {"dtype": "bool", "params": {"op": "eq"}},
    ),
    "pairs": ("matmul", [PAIRS, PAIRS], {"dtype": "complex64"}),
    "pairs complex128": ("matmul", [PAIRS, PAIRS], {"dtype": "complex128"}),
    "one pair": ("broadcast", ["[1, 2]", "[3, 4]"], {"dtype": "complex64"}),
    "complex": ("einsum", [COMPLEX, "[2j, 1]"], {"params": {"equation": "i,i->"}}),
    "complex and real": ("broadcast", ["[nan+2j, 1-infj]", "count:2:0"], {}),
    "complex and double": ("broadcast", [COMPLEX, saved(np.array([0.1, 0.2]))], {}),
    "random": ("matmul", ["random:5x7:0", "random:7x2:1"], {}),
    "integers": ("matmul", ["integers:5x7:0", "count:7x2:1"], {"dtype": "int32"}),
    "count": ("broadcast", ["count:2x3:0", "count:3:0"], {"dtype": "uint8"}),
    "transposed": ("matmul", ["random:5x7:0:T", "random:5x2:1"], {"dtype": "float64"}),
    "drawn scalar": ("broadcast", ["random::4", "integers::5"], {}),
    "drawn float16": ("broadcast", ["random:3x3:4", "integers:3:5"], {"dtype": "float16"}),
    "drawn bfloat16": ("broadcast", ["random:3x3:4", "integers:3:5"], {"dtype": "bfloat16"}),
    "drawn complex": ("matmul", ["random:3x4:4:T", "integers:3x5:5"], {"dtype": "complex64"}),
    "drawn and a file": ("matmul", ["random:30x30:0", saved(WIDE)], {}),
    "files": ("matmul", [saved(WIDE), saved(np.asfortranarray(WIDE))], {}),
    "a file transposed": ("matmul", [saved(WIDE[:, :20], transposed="T"), saved(WIDE)], {}),
    "a small file": ("norm", [saved(np.arange(4, dtype=np.int16))], {}),
    "a file of integers": ("matmul", [saved(WIDE.astype(np.int64)), "random:30x2:0"], {}),
    "a file of booleans": (
        "broadcast",
        [saved(WIDE > 0), saved(WIDE > 1)],
        {"params": {"op": "ne"}},
    ),
    "files of complex": ("matmul", [saved(WIDE * 1j), saved((WIDE + 1j).astype(np.complex64))], {}),
    "a short float": ("broadcast", [saved(WIDE.astype(np.float16)), "0.1"], {}),
    "a result": ("matmul", [result(BRAIN), result(BRAIN)], {}),
    "two short floats": ("broadcast", [saved(WIDE.astype(np.float16)), result(BRAIN)], {}),
    "long texts": ("matmul", [text(70, 60), text(60, 70)], {}),
    "a long text of integers": (
        "broadcast",
        [text(70, 60, fraction=False), "3"],
        {"dtype": "int64"},
    ),
    "a long text beside a file": ("matmul", [text(70, 30), saved(WIDE)], {}),
    "a long text float16": ("broadcast", [text(70, 60), "1"], {"dtype": "float16"}),
    "a long text bfloat16": ("broadcast", [text(70, 60), "1"], {"dtype": "bfloat16"}),
    "a long text of pairs": ("norm", [text(2500, 2)], {"dtype": "complex64"}),
    "a long text of complex": ("norm", [{"long": f"[{', '.join(['1+2j'] * 3000)}]"}], {}),
    "views": (
        "broadcast",
        ["1 20 30", "1 20 30"],
        {"views": ["", ":,None"], "params": {"op": "mul"}},
    ),
    "views of one": (
        "broadcast",
        ["1 2 3"],
        {"views": ["None,..."], "params": {"op": "", "to": "2x3"}},
    ),
    "expand": ("broadcast", ["1 2 3"], {"params": {"op": "", "to": "3x3"}}),
    "expanded result": ("broadcast", ["1", "2"], {"params": {"op": "sub", "to": "2x2"}}),
    "three": ("broadcast", ["1 2", "3", "4\n5"], {"params": {"op": "maximum"}}),
    "integer division": ("broadcast", ["8 -8", "2"], {"dtype": "int32", "params": {"op": "div"}}),
    "power": ("broadcast", ["2 3", "0.5"], {"params": {"op": "pow"}}),
    "comparison": ("broadcast", ["1 2", "2 2"], {"params": {"op": "ge"}}),
    **{
        f"norm {ord} {dim} {kind}": (
            "norm",
            ["[[[1, -2], [3, 4]], [[5, 6], [7, 8.5]]]"],
            {"params": {"ord": ord, "dim": dim, "kind": kind, "keepdim": keep}},
        )
        for ord, dim, kind, keep in [
            ("", "", "auto", "false"),
            ("2", "0,2", "auto", "false"),
            ("nuc", "1,2", "auto", "true"),
            ("fro", "0,1", "auto", "false"),
            ("-inf", "2", "auto", "true"),
            ("0", "", "vector", "false"),
            ("3.5", "1", "auto", "false"),
            ("1", "", "matrix", "false"),
        ]
    },
    "norm of integers": ("norm", ["[[1, 2], [3, 4]]"], {"dtype": "int64", "params": {"dim": "0"}}),
    "diagonal": ("einsum", ["1 2\n3 4"], {"params": {"equation": "ii->i"}}),
    "implicit": ("einsum", ["1 2\n3 4", "5 6\n7 8"], {"params": {"equation": "ba,ac"}}),
    "dots": ("einsum", ["count:2x3x4:0", "count:4x2:0"], {"params": {"equation": "...a,ab->...b"}}),
    "a path": (
        "einsum",
        ["count:2x3:0", "count:3x4:0", "count:4x2:0"],
        {"params": {"equation": "ij,jk,kl->il"}, "strategy": "pairwise"},
    ),
    "nothing": ("matmul", ["array([], shape=(2, 0))", "array([], shape=(0, 3))"], {}),
    "nothing complex": ("broadcast", ["[]", "[]"], {"dtype": "complex64"}),
    "deterministic": ("matmul", ["[[1, 2]]", "[[3], [4]]"], {"deterministic": True}),
}


def computed(code: str, files: dict[str, str], folder: Path) -> torch.Tensor:
    """Return what a snippet prints in a folder with the files that it reads."""
    for name, content in files.items():
        (folder / name).write_bytes(base64.b64decode(content))
    printed: list[torch.Tensor] = []
    exec(code, {"print": printed.append})
    assert torch.are_deterministic_algorithms_enabled() == ("deterministic" in code)
    torch.use_deterministic_algorithms(mode=False)
    return printed[0]


def numbers(value: object) -> list[float]:
    """The numbers of nested data; words and strings of digits are numbers too."""
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float | str) else []


async def test_the_snippet_of_torch_computes_what_the_page_does(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every operation, every form of operand, and every dtype."""
    monkeypatch.chdir(tmp_path)
    page = await visit.open()
    answers = await page.evaluate(COMPUTE, [*CALLS.values()])
    for name, told in zip(CALLS, answers, strict=True):
        assert "text" in told, (name, told)
        answer = told["answer"]["result"]
        own = computed(told["text"], told["saved"], tmp_path)
        dtype = DTYPES[answer["dtype"]]
        assert own.dtype == dtype.torch, (name, told["text"])
        assert list(own.shape) == answer["shape"], (name, told["text"])
        flat = torch.view_as_real(own) if own.is_complex() else own
        exact = dtype.kind in {"integer", "bool"}
        tolerance = 0.0 if exact else 2e-2 if dtype.itemsize == 2 else 1e-5
        np.testing.assert_allclose(
            flat.flatten().double().numpy(),
            numbers(answer["data"]),
            tolerance,
            tolerance,
            err_msg=name,
        )
