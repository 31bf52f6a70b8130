"""The generated pages of the documentation, written from registry, settings and errors."""

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from service.core.dtypes import DTYPES
from service.http.problems import explanations
from service.registry import Op, Registry, Strategy
from service.settings import PREFIX, Settings
from tools.layers_svg import house, layers

OPERATIONS = """\
# Operations and strategies

Written from the registry by `python -m service docs`; `make test` fails when it is stale.
Strategies stand slowest first. `auto` takes the first of its list that takes the call. A product
whose axes are all 128 or longer goes to the quickest of them, as measured on the host.
"""


SETTINGS = """\
# Settings

Written from the code by `python -m service docs`; `make test` fails when it is stale.
Settings are variables of the environment; `GET /limits` gives the limits in force. A name that does
not exist stops the start, with the nearest one as a hint.

| variable | default | meaning |
| --- | --- | --- |
"""

ERRORS = """\
# Errors

Written from the code by `python -m service docs`; `make test` fails when it is stale.
Every error is a problem document (RFC 9457), `application/problem+json`: `detail` says what was
asked and what was found, `hint` what would work, where that was tried, `errors` at which places of
the request. `GET /problems/{code}` gives the text below. Codes never change.
"""

README = Path("README.md")
MARKS = ("<!-- strategies: written by `python -m service docs` -->\n", "<!-- /strategies -->")


def pages(registry: Registry) -> dict[Path, str]:
    """Each generated page, and the README with its table of strategies."""
    readme = README.read_text(encoding="utf-8")
    before, _, rest = readme.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return {
        Path("docs/operations.md"): operations_page(registry),
        Path("docs/settings.md"): settings_page(),
        Path("docs/errors.md"): errors_page(),
        Path("docs/images/house.svg"): house(layers()),
        README: "".join((before, MARKS[0], strategies_table(registry), MARKS[1], after)),
    }


def settings_page() -> str:
    """Every variable, its default and its meaning."""
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
    """Every problem code, by status."""
    found = sorted(explanations().values(), key=lambda each: each.status)
    return ERRORS + "".join(
        f"\n## {each.code}\n\n{each.status}: {each.title}.\n\n{each.explanation}\n"
        for each in found
    )


def strategies_table(registry: Registry) -> str:
    """A table of all strategies, for the README."""
    rows = [
        f"| {op.name} | `{each.name}` | {each.summary} |"
        for op in registry.values()
        for each in op.strategies.values()
    ]
    return "\n".join(["| operation | strategy | |", "| --- | --- | --- |", *rows, ""])


def operations_page(registry: Registry) -> str:
    """The page, as Markdown."""
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
        lines += [f"### {op.name} by {strategy.name}", "", "```python", strategy.snippet, "```", ""]
    return "\n".join(lines)


def _row(strategy: Strategy[Any]) -> str:
    taken = [_dtypes(strategy, kind) for kind in ("cpu", "cuda")]
    return f"| `{strategy.name}` | {strategy.summary} | {taken[0]} | {taken[1]} |"


def _dtypes(strategy: Strategy[Any], kind: str) -> str:
    """The dtypes it takes, in the fewest words."""
    taken = {d.name for d in DTYPES.values() if d.torch in strategy.dtypes_on(kind)}
    missing = [name for name in DTYPES if name not in taken]
    if not taken:
        return "none"
    if not missing:
        return "all"
    if len(missing) <= 3:
        return f"all but {', '.join(missing)}"
    return ", ".join(name for name in DTYPES if name in taken)
