"""Clients generated from the committed document work with the service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.rigs.paths import NPM, ROOT
from tests.rigs.requirements import needs
from tests.rigs.servers import unmeasured

DOCUMENT: Final = ROOT / "openapi" / "openapi.json"
SETTINGS: Final = ROOT / "openapi" / "openapi-python-client.yaml"

IN_PYTHON: Final = """\
import sys
from tensors import Client
from tensors.api.operations import matmul, matmul_compare, matmul_plan
from tensors.api.system import devices, strategies
from tensors.models import Answer, CompareAnswer, Dtype, Elements, MatmulCompareRequest
from tensors.models import MatmulPlanRequest, MatmulRequest, Problem, Shape

with Client(sys.argv[1], raise_on_unexpected_status=True) as client:
    operand = Elements(shape=[2, 2], dtype=Dtype.FLOAT64, data=[5, 6, 7, 8])
    answer = matmul.sync(client=client, body=MatmulRequest(a=[[1, 2], [3, 4]], b=operand))
    assert isinstance(answer, Answer)
    assert answer.result.data == [[19.0, 22.0], [43.0, 50.0]]
    assert (answer.result.dtype, answer.strategy) == ("float64", "torch")
    refused = matmul.sync(client=client, body=MatmulRequest(a=[[1, 2]], b=[[1, 2]]))
    assert isinstance(refused, Problem)
    assert refused.code == "shape-mismatch"
    shapes = MatmulPlanRequest(a=Shape(shape=[5, 784]), b=Shape(shape=[784, 10]))
    assert matmul_plan.sync(client=client, body=shapes).work.multiply_adds == 39200
    race = MatmulCompareRequest(a=[[1]], b=[[2]])
    assert isinstance(matmul_compare.sync(client=client, body=race), CompareAnswer)
    assert devices.sync(client=client).devices[-1].name == "cpu"
    assert [op.name for op in strategies.sync(client=client)][0] == "matmul"
"""

IN_TYPESCRIPT: Final = """\
import type { components, paths } from "./service.js";

type Matmul = paths["/matmul"]["post"];
type Answer = Matmul["responses"]["200"]["content"]["application/json"];
type Problem = Matmul["responses"]["422"]["content"]["application/problem+json"];

async function post(body: Matmul["requestBody"]["content"]["application/json"]): Promise<Response> {
  return fetch(process.argv[2] + "/matmul", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

type Elements = components["schemas"]["Elements"];
const b: Elements = { shape: [2, 2], dtype: "float64", data: [5, 6, 7, 8] };
const answer = (await (await post({ a: [[1, 2], [3, 4]], b, strategy: "loops" })).json()) as Answer;
const problem = (await (await post({ a: [[1, 2]], b: [[1, 2]] })).json()) as Problem;
// @ts-expect-error: there is no such strategy
await post({ a: 1, b: 1, strategy: "lops" });
console.log(JSON.stringify([answer.result.data, answer.strategy, problem.code]));
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Return the output of a command on both streams, and assert that it succeeds."""
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        command,
        cwd=cwd,
        env=unmeasured() | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_openapi_python_client(tmp_path: Path, base_url: str) -> None:
    """It gives no warning, and its client computes, plans, races, and reads problems."""
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    options = ["--path", str(DOCUMENT), "--config", str(SETTINGS), "--meta", "none"]
    told = run(*generator, *options, "--output-path", "tensors", cwd=tmp_path)
    assert told == "Generating tensors\n"
    (tmp_path / "call.py").write_text(IN_PYTHON, encoding="utf-8")
    run(sys.executable, "-W", "error", "call.py", base_url, cwd=tmp_path)


@needs("openapi-typescript")
def test_openapi_typescript(tmp_path: Path, base_url: str) -> None:
    """It gives no warning, and its types fit requests and responses of the service."""
    options = ["--default-non-nullable=false", "--output", "service.d.ts"]
    told = run(NPM / "openapi-typescript", DOCUMENT, *options, cwd=tmp_path)
    assert "warning" not in told.lower()
    (tmp_path / "call.ts").write_text(IN_TYPESCRIPT, encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    shutil.copytree(NPM.parent / "@types", tmp_path / "node_modules" / "@types")
    shutil.copytree(NPM.parent / "undici-types", tmp_path / "node_modules" / "undici-types")
    flags = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    run(NPM / "tsc", *flags, "call.ts", cwd=tmp_path)
    told = run("node", "call.js", base_url, cwd=tmp_path)
    assert told == '[[[19,22],[43,50]],"loops","shape-mismatch"]\n'
