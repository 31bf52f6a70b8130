"""Extensions of the MkDocs build: more pages in the navigation, and links to files outside docs/.

A link to a file outside docs/, such as ../deploy/nginx.conf, works in the repository. In the site
only its text remains. CONTRIBUTING.md, at the root of the repository, becomes a page of the site.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

OUTWARD = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)((?:#[^)]*)?)\)")
INWARD = re.compile(r"\]\(docs/")
# A relative link to another file of the repository's root.
ROOTED = re.compile(r"\[([^\]]+)\]\(([A-Z]+\.md)(?:#[^)]*)?\)")
CONTRIBUTING = "contributing.md"


def on_config(config: Any) -> Any:
    """Append docs/adr/ and docs/notes/, in the order of their names."""
    docs = Path(config["docs_dir"])
    sections = [
        {title: [path.relative_to(docs).as_posix() for path in sorted(docs.glob(pattern))]}
        for title, pattern in (("Decisions", "adr/*.md"), ("Notes", "notes/*.md"))
    ]
    config["nav"] = [*config["nav"], *sections]
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Add the repository's CONTRIBUTING.md, its links rewritten, as contributing.md."""
    text = (Path(config["docs_dir"]).parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = ROOTED.sub(r"\1", INWARD.sub("](", text))
    files.append(File.generated(config, CONTRIBUTING, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replace links that lead out of docs/ by their text, but keep those to CONTRIBUTING.md."""
    docs = Path(config["docs_dir"]).resolve()
    folder = docs / Path(page.file.src_uri).parent

    def in_site(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        if target == docs.parent / "CONTRIBUTING.md":
            return f"[{found[1]}]({os.path.relpath(docs / CONTRIBUTING, folder)}{found[3]})"
        return found[0] if target.is_relative_to(docs) else found[1]

    return OUTWARD.sub(in_site, markdown)
