"""Fields about arithmetic, and torch's settings while a call is computed."""

from collections.abc import Iterator

import pytest
import torch

from service.core.arithmetic import Arithmetic, computing, kernel_precision, parse_arithmetic

PLAIN = ("ieee", False, "ieee")


def settings() -> tuple[str, bool, str]:
    """Return the precision of torch, whether it is deterministic, and the precision of kernels."""
    precision = torch.backends.cuda.matmul.fp32_precision
    return precision, torch.are_deterministic_algorithms_enabled(), kernel_precision()


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    """Begin with the settings of the service, and check that they are left behind."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    assert settings() == PLAIN
    yield
    assert settings() == PLAIN


def test_nothing_is_asked_for() -> None:
    """Other fields ask nothing of arithmetic."""
    assert parse_arithmetic({"strategy": "torch"}) is None
    assert parse_arithmetic({"deterministic": False}) == Arithmetic(None, False)
    assert parse_arithmetic({"precision": "tf32"}) == Arithmetic("tf32")


def test_what_is_stated() -> None:
    """Fields that the request has, whatever their values."""
    assert Arithmetic("ieee", False).stated == {"precision": "ieee", "deterministic": False}
    assert Arithmetic(deterministic=True).stated == {"deterministic": True}
    reduced = [Arithmetic(each).is_reduced for each in (None, "ieee", "tf32", "bf16x3")]
    assert reduced == [False, False, True, True]


@pytest.mark.parametrize(
    ("arithmetic", "kind", "expected"),
    [
        (None, "cuda", PLAIN),
        (Arithmetic("ieee", False), "cuda", PLAIN),
        (Arithmetic("tf32"), "cuda", ("tf32", False, "tf32")),
        (Arithmetic("bf16x3"), "cuda", ("ieee", False, "bf16x3")),
        (Arithmetic(None, True), "cuda", ("ieee", True, "ieee")),
        (Arithmetic("tf32", True), "cpu", PLAIN),
        (Arithmetic("tf32", True), "cluster", PLAIN),
    ],
)
def test_settings_of_a_call(
    arithmetic: Arithmetic | None, kind: str, expected: tuple[str, bool, str]
) -> None:
    """They are those asked for on a GPU, also in a call that fails, and of no other call."""
    with computing(arithmetic, kind):
        assert settings() == expected
    with pytest.raises(ZeroDivisionError), computing(arithmetic, kind):
        assert 1 / 0


def test_statements_of_torch() -> None:
    """Run, they have torch compute as a call asks for."""
    for asked, expected in (
        (Arithmetic("tf32", True), ("tf32", True, "ieee")),
        (Arithmetic("bf16x3", False), PLAIN),
    ):
        try:
            exec("; ".join(asked.settings), {"torch": torch})
            assert settings() == expected
        finally:
            torch.use_deterministic_algorithms(mode=False)
            torch.backends.cuda.matmul.fp32_precision = "ieee"
