"""Generator of the reference pages and of the picture of the layers.

    python -m tools.reference
    python -m tools.reference --check

It writes them from the registry, the settings, the errors and pyproject.toml. Run it in the root
of the repository.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from service.core.dtypes import DTYPES
from service.http.problems import problem_kinds
from service.operations import REGISTRY
from service.registry import Op, Registry, Strategy
from service.settings import PREFIX, Settings
from tools.layers_svg import layers, layers_svg

OPERATIONS: Final = """\
# Operations and strategies

Written from the registry by `make docs`; `make test` fails when it is stale.
Strategies stand slowest first. `auto` takes the first of its list that takes the call. A product
whose axes are all 128 or longer goes to the quickest of them, as measured on the host.
Where intermediate values overflow or underflow, `auto` computes again without that; named
strategies warn.
"""

SETTINGS: Final = """\
# Settings

Written from the code by `make docs`; `make test` fails when it is stale.
Settings are variables of the environment; `GET /limits` gives the limits in force. A name that does
not exist stops the start, with the nearest one as a hint.

| variable | default | meaning |
| --- | --- | --- |
"""

ERRORS: Final = """\
# Errors

Written from the code by `make docs`; `make test` fails when it is stale.
Every error is a problem document (RFC 9457), `application/problem+json`: `detail` says what was
asked and what was found, `hint` what would work, where that was tried, `errors` at which places of
the request. `GET /problems/{code}` gives the text below. Codes never change. A browser gets the
4xx errors of a GET as pages.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them; return the exit status, 1 if a checked file is stale."""
    parser = argparse.ArgumentParser(
        "python -m tools.reference",
        description="Writes the generated pages of docs/ and the picture of the layers; run it in "
        "the root of the repository.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file is stale"
    )
    check = parser.parse_args(arguments).check
    files = generated_files(REGISTRY)
    if check:
        stale = [path for path, text in files.items() if not _has_text(path, text)]
        for path in stale:
            print(f"{path} is stale: run `make openapi docs`", file=sys.stderr)
        return 1 if stale else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


def _has_text(path: Path, text: str) -> bool:
    """Return whether the file exists and has this text."""
    return path.exists() and path.read_text(encoding="utf-8") == text


def generated_files(registry: Registry) -> dict[Path, str]:
    """Return the text of each generated file."""
    return {
        Path("docs/operations.md"): operations_page(registry),
        Path("docs/settings.md"): settings_page(),
        Path("docs/errors.md"): errors_page(),
        Path("docs/images/layers.svg"): layers_svg(layers()),
    }


def settings_page() -> str:
    """Return the page of all settings: variable, default and meaning."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return SETTINGS + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default_factory:
        return "by the host"
    return "unset" if field.default is None else f"`{field.default}`"


def errors_page() -> str:
    """Return the page of all problem codes, ordered by status."""
    found = sorted(problem_kinds().values(), key=lambda each: each.status)
    return ERRORS + "".join(
        f"\n## {each.code}\n\n{each.status}: {each.title}.\n\n{each.explanation}\n"
        for each in found
    )


def operations_page(registry: Registry) -> str:
    """Return the page of all operations, with the source of each strategy."""
    return "\n".join([OPERATIONS, *(_operation(op) for op in registry.values())])


def _operation(op: Op[Any]) -> str:
    operands = ", ".join(f"`{name}`" for name in op.operands or ["operands"])
    lines = [f"## {op.name}", "", op.summary, "", f"Operands: {operands}.", ""]
    if op.params:
        lines += ["| field | default | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{param.name}` | "
            f"{'required' if param.required else f'`{json.dumps(param.default)}`'} "
            f"| {param.summary} |"
            for param in op.params
        ]
        lines.append("")
    lines += ["| strategy | what it does | dtypes on CPU | on CUDA |", "| --- | --- | --- | --- |"]
    lines += [_row(strategy) for strategy in op.strategies.values()]
    lines += ["", f"`auto`: {', '.join(f'`{name}`' for name in op.auto)}.", ""]
    for strategy in op.strategies.values():
        lines += [f"### {op.name} by {strategy.name}", "", *_source(strategy), ""]
    return "\n".join(lines)


def _source(strategy: Strategy[Any]) -> list[str]:
    """Return the source of a strategy, or the link to that of a kernel, which is longer."""
    if strategy.kernel is None:
        return ["```python", strategy.snippet, "```"]
    path = strategy.kernel.partition(":")[0].replace(".", "/") + ".py"
    return [f"See [{path}](../{path})."]


def _row(strategy: Strategy[Any]) -> str:
    cpu, cuda = (_dtypes(strategy, kind) for kind in ("cpu", "cuda"))
    return f"| `{strategy.name}` | {strategy.summary} | {cpu} | {cuda} |"


def _dtypes(strategy: Strategy[Any], kind: str) -> str:
    """Return the dtypes that a strategy supports, as all, none, all but a few, or a list."""
    # Not those of this host, which may lack what the strategy needs.
    dtypes = {"cpu": strategy.dtypes, "cuda": strategy.cuda}[kind]
    supported = {d.name for d in DTYPES.values() if d.torch in dtypes}
    missing = [name for name in DTYPES if name not in supported]
    if not supported:
        return "none"
    if not missing:
        return "all"
    if len(missing) <= 3:
        return f"all but {', '.join(missing)}"
    return ", ".join(name for name in DTYPES if name in supported)


if __name__ == "__main__":
    sys.exit(main())
