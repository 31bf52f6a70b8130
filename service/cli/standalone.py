"""HTML pages in one file: modules, styles and data of the lab page's kind, inlined.

A browser loads no modules from file:// addresses, so the modules are joined into one script.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).parents[1] / "web"
LAB: Final = WEB / "lab"
# Colours, type and controls of the lab page, which every page begins with.
STYLES: Final = tuple(LAB / f"{name}.css" for name in ("base", "controls", "figures"))
_IMPORT: Final = re.compile(r'^import \{ ([^}]+) \} from "(\.[^"]+)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_OTHER: Final = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:image/svg+xml;base64,{icon}">
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{subtitle}</p></header>
<main><noscript><pre class="scroll">{text}</pre></noscript></main>
<script type="application/json" id="data">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def standalone_page(
    entry: Path, styles: Sequence[Path], *, title: str, subtitle: str, data: str, text: str
) -> str:
    """Return a page that runs the module `entry` on `data`, which is JSON.

    `text` is what the page shows where no scripts run. The policy admits this script and this style
    sheet by their digests, and nothing from any address.
    """
    style = "".join(path.read_text(encoding="utf-8") for path in (*STYLES, *styles))
    script = bundle(entry)
    return _PAGE.format(
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src {_digest(script)}",
                f"style-src {_digest(style)}",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "require-trusted-types-for 'script'",
                "trusted-types 'none'",
            )
        ),
        title=escape(title),
        subtitle=escape(subtitle),
        icon=b64encode((LAB / "icon.svg").read_bytes()).decode(),
        style=style,
        text=escape(text),
        data=data.replace("<", "\\u003c"),
        script=script,
    )


def bundle(entry: Path) -> str:
    """Return a module and all that it imports as one script.

    Each module becomes a function that returns what the module exports, after those it imports.
    Raises ValueError for a form of import or export that this does not know.
    """
    functions: dict[Path, str] = {}
    _add(entry.resolve(), functions)
    script = "\n".join(functions.values())
    # Inside <script> these would end it, or begin a state in which </script> does not.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _add(path: Path, functions: dict[Path, str], importers: tuple[Path, ...] = ()) -> None:
    """Add the function of a module, after those of the modules that it imports."""
    if path in importers:
        raise ValueError(f"{path.name} imports itself through {importers[-1].name}")
    if path in functions:
        return
    text = path.read_text(encoding="utf-8")
    for found in _IMPORT.finditer(text):
        _add((path.parent / found[2]).resolve(), functions, (*importers, path))

    def take(found: re.Match[str]) -> str:
        names = found[1].replace(" as ", ": ")
        return f"const {{ {names} }} = {_name((path.parent / found[2]).resolve())};"

    exported = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub("", _IMPORT.sub(take, text))
    other = _OTHER.search(body)
    if other is not None:
        raise ValueError(f"{path.name} has {other[0]!r}; named imports and exports can be joined")
    functions[path] = f"const {_name(path)} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def _name(path: Path) -> str:
    return re.sub(r"\W", "_", f"{path.parent.name}_{path.stem}")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
