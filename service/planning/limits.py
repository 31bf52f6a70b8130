"""The limits that a call is held to before anything is allocated for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers only; `service.settings` says where each comes from."""

    max_elements: int
    max_bytes: int
    max_rank: int
    deadline_ms: int
    dask_max_bytes: int = 2**40
