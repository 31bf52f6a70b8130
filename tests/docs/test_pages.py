"""The documents are true: generated pages are fresh, settings and links exist."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from service.__main__ import main
from service.settings import PREFIX, Settings
from tests.docs.blocks import pages
from tests.rigs.paths import ROOT
from tools import reference

SETTINGS = ROOT / "docs" / "settings.md"


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(lambda: main(["openapi", "--check"]), id="openapi"),
        pytest.param(lambda: reference.main(["--check"]), id="docs"),
    ],
)
def test_a_generated_file_is_fresh(
    check: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make openapi docs` would change nothing."""
    monkeypatch.chdir(ROOT)
    assert check() == 0, capsys.readouterr().err


def test_every_setting_is_documented() -> None:
    """The documents name each variable of a setting, and no other one."""
    text = SETTINGS.read_text(encoding="utf-8")
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))
    assert named == {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    """Every relative link of a document names a file that exists."""
    text = re.sub(
        r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target
