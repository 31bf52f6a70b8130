"""Documents as the service sends them, for tests of how they are shown."""

from typing import Any, Final

TIMING: Final[dict[str, Any]] = {
    "decode_ms": 0.012,
    "queue_ms": 0.0,
    "compute_ms": 0.0031,
    "total_ms": 0.0151,
    "threads": 1,
}
ENVELOPE: Final[dict[str, Any]] = {
    "op": "matmul",
    "strategy": "torch",
    "device": "cpu",
    "warnings": ["b: 3 digits were lost"],
    "request_id": "1",
    "timing": TIMING,
}
LOOPS: Final[dict[str, Any]] = {
    "strategy": "loops",
    "device": "cpu",
    "runs": 1,
    "median_ms": 910.0,
    "iqr_ms": 0.0,
    "speedup": 1.0,
    "max_abs_error": 0.0,
    "max_ulp_error": 0.0,
    "agrees": True,
    "peak_share": 0.00005,
}
TORCH: Final = LOOPS | {
    "strategy": "torch",
    "runs": 20,
    "median_ms": 0.00564,
    "iqr_ms": 0.001,
    "speedup": 162_000.0,
    "max_abs_error": 1.9e-06,
    "max_ulp_error": 0.5,
    "peak_share": None,
}
WRONG: Final = TORCH | {
    "strategy": "fast",
    "median_ms": 0.001,
    "speedup": None,
    "max_abs_error": "Infinity",
    "max_ulp_error": "Infinity",
    "agrees": False,
    "disagreeing": 2,
    "worst": [1, 0],
}
TF32: Final = TORCH | {
    "device": "cuda:0",
    "precision": "tf32",
    "upload_ms": 0.012,
    "download_ms": 0.0,
}
SKIPPED: Final = {"strategy": "cuda", "device": "cpu", "skipped": "needs a GPU"}
REPORT: Final[dict[str, Any]] = {
    "op": "matmul",
    "shapes": [[5, 784], [784, 10]],
    "dtype": "float32",
    "baseline": "loops",
    "reference": {"method": "exact arithmetic", "checked": 50, "elements": 50},
    "host": {"cpu": "A processor", "threads": 2, "versions": {"torch": "2"}},
    "rows": [LOOPS, SKIPPED, SKIPPED | {"strategy": "triton"}, TORCH, WRONG],
}
STRATEGY: Final[dict[str, Any]] = {
    "strategy": "torch",
    "device": "cpu",
    "accepted": True,
    "estimated_ms": 0.002,
    "basis": "prior",
    "compile_ms": 0.0,
    "reason": None,
}
CUDA: Final = STRATEGY | {
    "strategy": "cuda",
    "estimated_ms": None,
    "basis": None,
    "reason": "needs a GPU",
}
PLAN: Final[dict[str, Any]] = {
    "op": "einsum",
    "accepted": True,
    "reason": None,
    "strategy": "torch",
    "device": "cpu",
    "result": {"shape": [5, 10], "dtype": "float32", "elements": 50, "bytes": 200},
    "work": {"multiply_adds": 39_200, "peak_elements": 0, "peak_bytes": 47_240},
    "strategies": [
        CUDA,
        STRATEGY | {"strategy": "numba", "basis": "measured", "compile_ms": 1000.0},
        STRATEGY,
    ],
    "reproduce": "torch.matmul(a, b)",
    "path": [{"positions": [0, 1], "equation": "ij,jk->ik", "shape": [5, 10], "multiply_adds": 1}],
}
CHAIN_PLAN: Final[dict[str, Any]] = {
    "op": "chain",
    "accepted": True,
    "device": "cpu",
    "estimated_ms": 0.0133,
    "transfer_ms": 0.0,
    "work": {"multiply_adds": 39_300, "peak_bytes": 47_640},
    "steps": [PLAN | {"name": "matmul0"}],
}
