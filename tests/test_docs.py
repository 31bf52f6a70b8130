"""What the documents say is true: generated pages are fresh, commands and examples run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import main
from service.settings import PREFIX, Settings
from tests.conftest import ROOT, serving

README = ROOT / "README.md"
PROTOCOL = ROOT / "docs" / "open-inference-protocol.md"
SETTINGS = ROOT / "docs" / "settings.md"
# A block to run, and the answer that the document shows next, if it does.
BLOCK = re.compile(
    r"^```(python|bash)\n(.*?)^```\n+(?:```json\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)
# What differs from one call to the next.
PASSING = ("timing", "request_id", "instance", "device")
# The address in the documents, where a test puts that of its own server.
ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000")


def blocks() -> list[object]:
    """Every block of these pages that a reader may run: Python, and Bash that calls curl."""
    return [
        pytest.param(language, code, shown, id=f"{page.stem}-{number}-{language}")
        for page in (README, PROTOCOL)
        for number, (language, code, shown) in enumerate(BLOCK.findall(page.read_text("utf-8")))
        if language == "python" or code.startswith("curl")
    ]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The address of a server that is ready."""
    with serving() as url:
        yield url


@pytest.mark.parametrize(("language", "code", "shown"), blocks())
def test_a_block_of_a_page_runs(base_url: str, language: str, code: str, shown: str) -> None:
    """Without error, and with the answer that the page shows, if it shows one."""
    code = ADDRESS.sub(base_url, code)
    command = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*command, code],
        cwd=ROOT,
        env=os.environ | {"SERVICE_URL": base_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if shown:
        assert lasting(done.stdout) == lasting(shown)
    else:
        assert "/problems/" not in done.stdout


def lasting(answer: str) -> dict[str, Any]:
    """The fields of an answer that are the same on every call."""
    fields = json.loads(answer)
    assert isinstance(fields, dict)
    return {name: value for name, value in fields.items() if name not in PASSING}


@pytest.mark.parametrize("command", ["openapi", "docs"])
def test_a_generated_file_is_fresh(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make openapi docs` would change nothing."""
    monkeypatch.chdir(ROOT)
    assert main([command, "--check"]) == 0, capsys.readouterr().err


@pytest.mark.skipif(not SETTINGS.exists(), reason="docs/settings.md is not written yet")
def test_every_setting_is_documented() -> None:
    """By the name of its variable, and no other variable is."""
    text = SETTINGS.read_text(encoding="utf-8")
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))
    assert named == {PREFIX + name.upper() for name in Settings.model_fields}


def documents() -> list[Path]:
    """The Markdown files of the project."""
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    """Every relative link of a document names a file that exists."""
    text = re.sub(
        r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target
