"""Duration of the chaos tests, and limits of the server that hostile clients meet."""

import os
from typing import Final

# Longer by this variable, as `make chaos` sets it.
SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "4"))
IS_LONG: Final = SECONDS > 10
# The longest time that a server waits at its end for calls under way.
GRACE_S: Final = 30

MAX_BODY_BYTES: Final = 4 * 2**20
MAX_HEAD_BYTES: Final = 32_768
HEAD_S: Final = 1.0
REQUEST_S: Final = 1.5
