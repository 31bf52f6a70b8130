"""The extension module: loaded, or absent for a reason that is given."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from service.codecs import number_text
from service.codecs.number_text import NO_EXTENSIONS, load
from service.codecs.number_text.powers import powers_of_ten
from tests.rigs.paths import ROOT


class ExtensionModule(ModuleType):
    """An extension module that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("_compiled")
        self.tables: list[bytes] = []
        self.types: tuple[object, ...] = ()

    def set_powers(self, table: bytes) -> None:
        """Keep the table."""
        self.tables.append(table)

    def set_arrays(self, *types: object) -> None:
        """Keep the types."""
        self.types = types


def test_the_module_is_given_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was found takes the powers of ten and numpy's types; there is no reason."""
    module = ExtensionModule()
    monkeypatch.delenv(NO_EXTENSIONS, raising=False)
    monkeypatch.setattr(number_text, "import_module", lambda name: module)
    assert load() == (module, None)
    assert module.tables == [powers_of_ten()]
    assert module.types == (np.ndarray, np.dtype(np.int64), np.dtype(np.float64))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named _compiled"), "not compiled; install"),
        (ImportError("GLIBC_2.99 not found"), "cannot be loaded (GLIBC_2.99 not found); install"),
    ],
)
def test_absence_has_a_reason(
    monkeypatch: pytest.MonkeyPatch, error: ImportError, reason: str
) -> None:
    """A module that was never compiled, and one for another host."""

    def fail(name: str) -> None:
        raise error

    monkeypatch.delenv(NO_EXTENSIONS, raising=False)
    monkeypatch.setattr(number_text, "import_module", fail)
    module, told = load()
    assert module is None
    assert told is not None
    assert reason in told


def test_a_variable_leaves_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything in it does; nothing does not."""
    module = ExtensionModule()
    monkeypatch.setattr(number_text, "import_module", lambda name: module)
    monkeypatch.setenv(NO_EXTENSIONS, "1")
    assert load() == (None, f"{NO_EXTENSIONS} is set")
    monkeypatch.setenv(NO_EXTENSIONS, "")
    assert load() == (module, None)


def test_a_process_starts_without_it() -> None:
    """A service starts without the module, and says what keeps it from it."""
    code = "from service.codecs import number_text as n; print(n.compiled, n.reason)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={NO_EXTENSIONS: "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"None {NO_EXTENSIONS} is set\n"
