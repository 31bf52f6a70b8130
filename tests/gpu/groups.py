"""Groups of tests of a GPU, in a module that imports nothing which may be missing."""

from typing import Final

# Arguments of pytest for each group.
GROUPS: Final = {
    "rows of the table": ("tests/contract/test_operations.py", "-k", "cuda and not cpu"),
    "device processes": ("tests/contract/test_device_process.py",),
    "faults": ("tests/contract/test_gpu_faults.py",),
    "races": ("tests/contract/test_compare.py", "-k", "gpu or device"),
    "devices": ("tests/unit/core/test_devices.py",),
    "pinned memory": ("tests/unit/core/test_pinned_memory.py",),
    "kernels": ("tests/unit/operations/test_kernels.py",),
}
