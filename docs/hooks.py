"""What MkDocs does beyond its settings: the decisions join the navigation, links out of docs/ stay.

A link to a file outside docs/, such as ../deploy/nginx.conf, works in the repository. In the site
it stands as the file's name.
"""

import re
from pathlib import Path
from typing import Any

OUTWARD = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """Append docs/adr/, in the order of its numbers."""
    docs = Path(config["docs_dir"])
    pages = [path.relative_to(docs).as_posix() for path in sorted(docs.glob("adr/*.md"))]
    config["nav"] = [*config["nav"], {"Decisions": pages}]
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replace links that lead out of docs/ by their text."""
    docs = Path(config["docs_dir"]).resolve()
    folder = docs / Path(page.file.src_uri).parent

    def without_link(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        return found[0] if target.is_relative_to(docs) else found[1]

    return OUTWARD.sub(without_link, markdown)
