"""The layers of the package as an SVG picture, drawn from the import contract of pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Final

WIDTH_PX: Final = 720
ROW_PX: Final = 46
ROW_GAP_PX: Final = 6
MODULE_PX: Final = 136
MODULE_GAP_PX: Final = 12
INSET_PX: Final = 7
# The arrow stands left of the rows.
LEFT_PX: Final = 44
# A media query instead of a script, because pages show the file by <img>, which runs no script.
# The arrow has no background of its own, so its grey is readable on white and on black.
STYLE: Final = """
text { font: 13px ui-monospace, monospace; fill: #1f2933; text-anchor: middle }
.layer { fill: #eef1f4 }
.module { fill: #fff; stroke: #8a99a8 }
.arrow { fill: none; stroke: #7b8794; stroke-width: 2 }
.note { font: 12px system-ui, sans-serif; fill: #7b8794 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e9ee }
.layer { fill: #222b33 }
.module { fill: #35424e; stroke: #6b7a89 }
.note { fill: #7b8794 }
}
"""
TITLE: Final = "The modules of the service in layers; each may import from the layers below its own"


def layers(settings: Path = Path("pyproject.toml")) -> list[list[str]]:
    """Return the modules of each layer, the highest first, as import-linter's contract has them."""
    contracts = tomllib.loads(settings.read_text(encoding="utf-8"))["tool"]["importlinter"]
    rows = next(each["layers"] for each in contracts["contracts"] if each["type"] == "layers")
    return [re.findall(r"\w+", row) for row in rows]


def layers_svg(rows: list[list[str]]) -> str:
    """Return a picture with a row for each layer, its modules centred in it."""
    height = (ROW_PX + ROW_GAP_PX) * len(rows) - ROW_GAP_PX
    head = height - 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height}" role="img">',
        f"<title>{TITLE}</title>",
        f"<style>{STYLE}</style>",
        f'<path class="arrow" d="M30 4 V{height - 4} M24 {head} L30 {height - 4} L36 {head}"/>',
        f'<text class="note" transform="translate(18 {height // 2}) rotate(-90)">imports</text>',
    ]
    for number, names in enumerate(rows):
        lines += _row(names, number * (ROW_PX + ROW_GAP_PX))
    return "\n".join([*lines, "</svg>", ""])


def _row(names: list[str], top: int) -> list[str]:
    """Return the elements of a layer whose upper edge is at `top`."""
    lines = [_rect("layer", LEFT_PX, top, WIDTH_PX - LEFT_PX, ROW_PX)]
    step = MODULE_PX + MODULE_GAP_PX
    left = (LEFT_PX + WIDTH_PX - step * len(names) + MODULE_GAP_PX) // 2
    for x, name in zip(range(left, WIDTH_PX, step), names, strict=False):
        lines += [
            _rect("module", x, top + INSET_PX, MODULE_PX, ROW_PX - 2 * INSET_PX),
            f'<text x="{x + MODULE_PX // 2}" y="{top + ROW_PX // 2 + 5}">{name}</text>',
        ]
    return lines


def _rect(kind: str, x: int, y: int, width: int, height: int) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
