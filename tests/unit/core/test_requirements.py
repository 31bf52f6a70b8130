"""Requirements: what is present, what is absent, and how often a host is asked."""

import sys

import pytest

from service.core.requirements import INSTALL_COMPILED, Requirement, module


def test_modules_that_are_present() -> None:
    """A module is found without being imported, and so is one inside a package."""
    unused = "xml.dom.pulldom"
    assert unused not in sys.modules
    assert module("json").missing is None
    assert module(unused).missing is None
    assert unused not in sys.modules


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module"])
def test_modules_that_are_absent(name: str) -> None:
    """An absent module, or one of an absent package, is the reason, with the remedy."""
    found = f"needs {name}, which is not installed here: {INSTALL_COMPILED}"
    assert module(name).missing == found


def test_a_host_is_asked_once() -> None:
    """A requirement is looked up once: plans ask for it again and again."""
    asked = []

    def find() -> object:
        asked.append(1)
        return None

    need = Requirement("it", find, "make it")
    assert [need.missing, need.missing] == ["needs it, which is not installed here: make it"] * 2
    assert len(asked) == 1
