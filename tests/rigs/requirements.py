"""Requirements of tests that a host may lack, such as nginx.

A test without its requirement is skipped with the reason. TESTS_REQUIRE lists requirements that
must not be missing, separated by commas: without one of them, the tests fail.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Final

import pytest

from service.core.requirements import CPP_COMPILER, PYTHON_HEADERS
from tests.rigs.paths import NPM


def is_program(name: str) -> bool:
    """Return whether this host has a program."""
    return shutil.which(name) is not None


PROGRAMS: Final = ("curl", "gcc", "java", "make", "node", "wget")


def has_compiled_code() -> bool:
    """Return whether the extension module was built, and is used."""
    from service.codecs.number_text import compiled

    return compiled is not None


PRESENT: Final[dict[str, Callable[[], bool]]] = {
    **{name: partial(is_program, name) for name in PROGRAMS},
    "C++ compiler": lambda: CPP_COMPILER.missing is None and PYTHON_HEADERS.missing is None,
    "axe-core": (NPM.parent / "axe-core").exists,
    "compiled code": has_compiled_code,
    "dask": lambda: bool(find_spec("dask") and find_spec("distributed")),
    "numba-cuda": lambda: find_spec("numba_cuda") is not None,
    "nginx": lambda: shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is not None,
    "openapi-typescript": (NPM / "openapi-typescript").exists,
    "numba": lambda: find_spec("numba") is not None,
    "ray": lambda: find_spec("ray") is not None,
    "triton": lambda: find_spec("triton") is not None,
    "zarr": lambda: find_spec("zarr") is not None,
}


def is_required(name: str) -> bool:
    """Return whether tests must fail without `name`."""
    return name in os.environ.get("TESTS_REQUIRE", "").split(",")


def needs(name: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where `name` is missing, unless it is required."""
    missing = not PRESENT[name]() and not is_required(name)
    return pytest.mark.skipif(missing, reason=f"this host has no {name}")
