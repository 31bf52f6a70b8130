"""Paths of the project that tests and benches use."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "client" / "tensor_service_client"
# For programs of Python: this copy of the service and of its client.
PYTHONPATH: Final = os.pathsep.join(map(str, (ROOT, CLIENT.parent)))
# Programs that `make test` installs from npm.
NPM: Final = ROOT / "build" / "npm" / "node_modules" / ".bin"
