"""Text of numbers to arrays and back, compiled from C where it could be.

`compiled` is the extension module, or None where it is absent: `reason` then says why, and Python
does the same work slower.
"""

import os
from importlib import import_module
from typing import Any, Final

from service.codecs.number_text.powers import powers_of_ten

# Set to anything, it keeps the extension module from being compiled and from being used. It is no
# setting of the service, for modules are imported before settings are read.
NO_EXTENSIONS: Final = "TENSOR_SERVICE_NO_EXTENSIONS"


def load() -> tuple[Any, str | None]:
    """Return the extension module, or None and the reason."""
    if os.environ.get(NO_EXTENSIONS):
        return None, f"{NO_EXTENSIONS} is set"
    try:
        module: Any = import_module("service.codecs.number_text._compiled")
    except ModuleNotFoundError:
        return None, "it was not compiled; install the service again, `pip install -v` shows why"
    except ImportError as error:  # compiled for another host
        return None, f"it cannot be loaded ({error}); install the service again, on this host"
    module.set_powers(powers_of_ten())
    return module, None


compiled, reason = load()
