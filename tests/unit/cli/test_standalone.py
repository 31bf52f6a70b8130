"""Tests of pages in one file: modules joined into a script, and a policy that admits it alone."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from service.cli.standalone import bundle, standalone_page

MODULES = {
    "main.js": 'import { one as first, twice } from "./sub/both.js";\n'
    'import { one } from "./one.js";\nconsole.log(first, twice(one));\n',
    "one.js": "// the number\nexport const one = 1;\n",
    "sub/both.js": 'import { one } from "../one.js";\n'
    "export async function twice(x) {\n  return x + one;\n}\nexport class Both {}\n",
}


def write(folder: Path, modules: dict[str, str]) -> Path:
    """Write modules into a folder, and return the first."""
    for name, text in modules.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    return folder / next(iter(modules))


def test_modules_become_one_script(tmp_path: Path) -> None:
    """Each is a function, once, after those it imports; names of modules do not meet."""
    folder = tmp_path / "page"
    assert bundle(write(folder, MODULES)) == (
        "const page_one = (() => {\n// the number\nconst one = 1;\nreturn { one };\n})();\n\n"
        "const sub_both = (() => {\nconst { one } = page_one;\n"
        "async function twice(x) {\n  return x + one;\n}\nclass Both {}\n"
        "return { twice, Both };\n})();\n\n"
        "const page_main = (() => {\nconst { one: first, twice } = sub_both;\n"
        "const { one } = page_one;\nconsole.log(first, twice(one));\nreturn {  };\n})();\n"
    )


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"a.js": 'import * as b from "./b.js";\n'}, r"a.js has 'import \* as b"),
        ({"a.js": "export default 1;\n"}, "named imports and exports"),
        ({"a.js": 'import { a } from "left-pad";\n'}, "left-pad"),
        (
            {"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\n'},
            "a.js imports itself through b.js",
        ),
    ],
)
def test_what_cannot_be_joined(tmp_path: Path, modules: dict[str, str], message: str) -> None:
    """Other forms, and modules in a circle, are an error when the page is written."""
    with pytest.raises(ValueError, match=message):
        bundle(write(tmp_path, modules))


def test_a_page(tmp_path: Path) -> None:
    """Nothing in texts or data ends its element, and the policy names the digests of its parts."""
    entry = write(tmp_path, {"main.js": 'console.log("</script><!--");\n'})
    style = write(tmp_path, {"own.css": "p { color: red; }\n"})
    page = standalone_page(
        entry, [style], title="a <b>", subtitle="<i>", data='["</script>"]', text="<table>"
    )
    assert page.count("</script>") == page.count("<script") == 2
    assert all(text not in page for text in ("<b>", "<i>", "<table>", "<!--"))
    assert '["\\u003c/script>"]' in page
    assert "p { color: red; }" in page
    for tag in ("style", 'script type="module"'):
        content = re.search(f"<{tag}>(.*?)</", page, re.DOTALL)
        assert content is not None
        digest = b64encode(sha256(content[1].encode()).digest()).decode()
        assert f"{tag.split()[0]}-src 'sha256-{digest}'" in page
