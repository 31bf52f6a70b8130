"""Limits of a call, which are checked before anything is allocated for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of size, rank and time; `service.settings` has the setting of each."""

    max_elements: int
    max_bytes: int
    max_rank: int
    deadline_ms: int
    dask_max_bytes: int = 2**40
