"""docs/operations.md, written from the registry."""

from typing import Any

from service.dtypes import DTYPES
from service.registry import Op, Registry, Strategy

HEADER = """\
# Operations and strategies

Written from the registry by `python -m service docs`; `make test` fails when it is stale.
Strategies stand slowest first. `auto` takes the first of its list that takes the call.
"""


def operations_page(registry: Registry) -> str:
    """The page, as Markdown."""
    return "\n".join([HEADER, *(_operation(op) for op in registry.values())])


def _operation(op: Op[Any]) -> str:
    operands = ", ".join(f"`{name}`" for name in op.operands or ["operands"])
    lines = [f"## {op.name}", "", op.summary, "", f"Operands: {operands}.", ""]
    if op.params:
        lines += ["| field | default | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{param.name}` | {'required' if param.required else f'`{_json(param.default)}`'} "
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


def _json(value: object) -> str:
    return {None: "null", False: "false"}.get(value, f'"{value}"')  # type: ignore[call-overload,no-any-return]  # defaults are hashable
