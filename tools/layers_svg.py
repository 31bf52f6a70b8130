"""The picture of the house: the layers of pyproject.toml, which import downwards only, as SVG."""

import re
import tomllib
from pathlib import Path
from typing import Final

WIDTH: Final = 760
FLOOR: Final = 40
ROOF: Final = 70
# The reader's light or dark, without a script: blue grey on either.
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#263238;text-anchor:middle}"
    "rect{fill:#eceff1;stroke:#90a4ae}.roof{fill:#90a4ae}"
    "@media(prefers-color-scheme:dark){text{fill:#eceff1}rect{fill:#37474f}.roof{fill:#546e7a}}"
)


def layers(settings: Path = Path("pyproject.toml")) -> list[list[str]]:
    """The modules of each layer, the highest first, as import-linter holds them."""
    contracts = tomllib.loads(settings.read_text(encoding="utf-8"))["tool"]["importlinter"]
    rows = next(each["layers"] for each in contracts["contracts"] if each["type"] == "layers")
    return [re.findall(r"\w+", row) for row in rows]


def house(rows: list[list[str]]) -> str:
    """A floor for each layer, a room for each module, and a roof."""
    height = ROOF + FLOOR * len(rows) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The modules of the service: each may import those on the floors below it</title>",
        f"<style>{STYLE}</style>",
        f'<path class="roof" d="M{WIDTH // 2} 8 L{WIDTH - 4} {ROOF - 4} H4 Z"/>',
    ]
    for floor, names in enumerate(rows):
        room = (WIDTH - 20) / len(names)
        for place, name in enumerate(names):
            x, y = 10 + place * room, ROOF + floor * FLOOR
            lines += [
                f'<rect x="{x + 2:.0f}" y="{y}" width="{room - 4:.0f}" height="34" rx="4"/>',
                f'<text x="{x + room / 2:.0f}" y="{y + 21}">{name}</text>',
            ]
    return "\n".join([*lines, "</svg>", ""])
