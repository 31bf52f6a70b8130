"""Nothing beyond a text or the numbers of an array is touched."""

import subprocess
import sys
from typing import Final

from tests.rigs.paths import ROOT
from tests.rigs.requirements import needs

pytestmark = needs("compiled code")

TIMEOUT_S: Final = 120


def test_nothing_beyond_texts_and_numbers_is_touched() -> None:
    """A read or write beyond ends the process by a signal."""
    command = [sys.executable, "-X", "faulthandler", "-m", f"{__package__}.guard_pages"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-2000:]}"
    taken = int(done.stdout.split()[0])
    assert taken > 900, "most texts were left, so that little was read"
