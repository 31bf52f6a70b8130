"""`make gpu`: the tests of a GPU, then its timings, in one command and without a network.

It runs in any environment with a CUDA build of torch, the service, and the packages that the tests
import; it names those that are missing. Where no GPU is, it says so and runs the same on device
processes that compute on the CPU: a rehearsal, which proves all but the kernels and the speed. The
report is saved as JSON; the exit status is 1 if a test failed or a step ran out of time.
"""

import signal
import sys
from typing import Final

from tests.gpu.groups import GROUPS
from tests.gpu.packages import missing

# What a CUDA build of torch lacks; the extra `dev` has much that no test of a GPU needs.
INSTALL: Final = "python -m pip install -e '.[gpu]' httpx hypothesis 'pytest>=9' safetensors"


def main() -> int:
    """Name the packages that are missing, or run everything."""
    files = [arguments[0] for arguments in GROUPS.values()]
    if absent := missing(["tests/gpu/proof.py", "tests/bench/gpu.py", *files]):
        print(f"These packages are missing: {', '.join(absent)}. Install them: {INSTALL}")
        return 1
    from tests.gpu import proof  # it imports them

    return proof.main(__doc__)


if __name__ == "__main__":
    # A command in the background may have it ignored, and the steps would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
