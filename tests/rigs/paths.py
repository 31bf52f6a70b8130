"""Paths of the project that tests and benches use."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
# Programs that `make test` installs from npm.
NPM: Final = ROOT / "build" / "npm" / "node_modules" / ".bin"
