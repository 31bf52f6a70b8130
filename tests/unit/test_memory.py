"""Memory goes back to the system where the C library can give it back."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from service import memory


def test_release_changes_nothing_that_is_in_use() -> None:
    """What is allocated stays as it is."""
    x = torch.arange(1_000_000)
    memory.release()
    assert int(x.sum()) == 499_999_500_000


def test_a_c_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only glibc has `malloc_trim`."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory._trim.cache_clear()
    memory.release()
    monkeypatch.undo()
    memory._trim.cache_clear()
