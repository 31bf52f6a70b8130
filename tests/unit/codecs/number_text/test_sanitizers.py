"""The compiled code under gcc's sanitizers of addresses and of undefined behaviour."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.rigs.paths import ROOT
from tests.rigs.requirements import needs
from tests.unit.codecs.number_text import sanitized
from tests.unit.codecs.number_text.settings import IS_LONG

TIMEOUT_S: Final = 300


def faults(log: str) -> list[str]:
    """Return the places of undefined behaviour, once each."""
    return sorted({line for line in log.splitlines() if "runtime error" in line})


# Sanitizers, and more flags.
BUILDS: Final = {
    "memory": ("address,undefined",),
    "memory, any processor": ("address,undefined", sanitized.PORTABLE),
    "threads": ("thread",),
}
SHORT: Final = ("memory", "memory, any processor")


@needs("gcc")
@pytest.mark.parametrize("name", BUILDS if IS_LONG else SHORT)
def test_the_corpus_under_sanitizers(name: str, tmp_path: Path) -> None:
    """No access outside of memory, no overflow, no shift too far, and no race of threads."""
    sanitizers, *flags = BUILDS[name]
    library = sanitized.runtime("gcc", sanitizers)
    if library is None:
        pytest.skip(f"gcc has no {sanitized.LIBRARIES[sanitizers]}")
    target = sanitized.build("gcc", sanitizers, tmp_path, *flags)
    # At random addresses, a sanitizer may find no room for its own memory.
    fixed = ["setarch", "--addr-no-randomize"] if shutil.which("setarch") else []
    done = subprocess.run(
        [*fixed, sys.executable, "-m", sanitized.__name__, str(target)],
        cwd=ROOT,
        env=sanitized.environment(library, tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if "unexpected memory mapping" in done.stderr or "personality" in done.stderr:
        pytest.skip("the sanitizer cannot run on this host")
    # Undefined behaviour ends nothing, so that all of it is listed.
    assert "runtime error" not in done.stderr, faults(done.stderr)
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-4000:]}"
    assert int(done.stdout.split()[0]) > 700, "most texts were left, so that little was read"
