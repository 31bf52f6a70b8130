"""Numbers of texts and bodies that the tests of this folder read, and their seed."""

import os
from typing import Final

# More by this variable, as `make fuzz` sets it.
NUMBERS: Final = int(os.environ.get("FUZZ_NUMBERS", "30000"))
IS_LONG: Final = "FUZZ_NUMBERS" in os.environ
# A body takes as long as some fifty numbers. With 10^7 numbers, mutated bodies take minutes.
BODIES: Final = NUMBERS // 5 if IS_LONG else 6_000
SEED: Final = int(os.environ.get("FUZZ_SEED", "1"))
