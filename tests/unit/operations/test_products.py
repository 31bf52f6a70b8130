"""Kinds of products by shape, and samples of each."""

import pytest

from service.operations.products import SAMPLES, kind_of_product


@pytest.mark.parametrize(
    ("dims", "kind"),
    [
        ((1, 2, 2, 2), "matrix"),
        ((1, 64, 1, 64), "matrix"),
        ((1, 512, 512, 512), "matrix"),
        ((1, 512, 512, 1), "vector"),
        ((1, 1, 512, 512), "vector"),
        ((1, 4, 512, 512), "narrow"),
        ((1, 512, 512, 2), "narrow"),
        ((1, 1, 5000, 1), "inner"),
        ((1, 512, 1, 512), "outer"),
        ((1, 512, 4, 512), "thin"),
        ((9, 2, 5, 2), "batch of matrix"),
        ((9, 2, 5, 1), "batch of vector"),
        ((9, 1, 5, 1), "batch of inner"),
        ((9, 2, 1, 2), "batch of outer"),
        ((9, 7, 2, 7), "batch of thin"),
        ((0, 7, 2, 7), "matrix"),
    ],
)
def test_kinds(dims: tuple[int, int, int, int], kind: str) -> None:
    """Small products are of one kind; others differ by what is read and written."""
    assert kind_of_product(*dims) == kind


def test_each_kind_has_samples() -> None:
    """Those of a batch tell the time of a matrix from that of a call."""
    kinds = [kind_of_product(*dims) for dims in SAMPLES]
    single = {"matrix", "vector", "inner", "outer", "thin", "narrow"}
    assert set(kinds) == single | {f"batch of {kind}" for kind in single - {"narrow"}}
    for kind in set(kinds):
        sizes = [m * k * n for p, m, k, n in SAMPLES if kind_of_product(p, m, k, n) == kind]
        assert len(sizes) > 1
        assert not kind.startswith("batch") or len(set(sizes)) < len(sizes)
