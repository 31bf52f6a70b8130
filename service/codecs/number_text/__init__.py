"""Text of numbers to arrays and back, compiled from C."""

from typing import Any

import numpy as np

from service.codecs.number_text.powers import powers_of_ten

compiled: Any = None
try:
    from service.codecs.number_text import _compiled as compiled
except ImportError:  # there was no compiler when the service was installed
    pass
else:
    compiled.set_powers(powers_of_ten())
    compiled.set_arrays(np.ndarray, np.dtype(np.int64), np.dtype(np.float64))
