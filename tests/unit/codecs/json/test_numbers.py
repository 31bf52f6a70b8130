"""Conversion of numbers: rounding, warnings, and hints."""

import pytest

from service.core.dtypes import DTYPES
from tests.unit.codecs.json.decoding import read, read_error

pytestmark = pytest.mark.usefixtures("reader")


@pytest.mark.parametrize(
    ("text", "dtype", "wider"),
    [
        ("[300]", "int8", "int16"),
        ("[200]", "int8", "int16"),
        ("[-1]", "uint8", "int16"),
        (f"[{2**40}]", "int32", "int64"),
        (f"[{2**63}]", "int64", "float64"),
        ("[0.5]", "int8", "float64"),
        ("[1e39]", "float32", "float64"),
        ("[70000]", "float16", "float32"),
        ("[1e39]", "bfloat16", "float64"),
    ],
)
def test_a_hint_names_a_dtype_that_takes_the_value(text: str, dtype: str, wider: str) -> None:
    """The proposed dtype is tried."""
    hint = read_error(text, dtype=dtype).hint
    assert hint is not None
    assert f'"{wider}"' in hint
    assert read(text, dtype=wider)[0].dtype == DTYPES[wider].torch


@pytest.mark.parametrize(
    ("text", "dtype", "words"),
    [
        (
            "[[1, 16777217]]",
            "float32",
            "x: float32 cannot hold the whole number 16777217 at /x/0/1",
        ),
        ("[0.5, 16777217]", "float32", "16777216 was used instead"),
        ("16777217.0", "float32", "the whole number 16777217 at /x:"),
        (f"[{2**53 + 1}]", "float64", f"{2**53 + 1} at /x/0: {2**53} was used"),
        (f"[0.5, {2**53 + 1}]", "float64", f"{2**53 + 1} at /x/1: {2**53} was used"),
        (f"[0.5, {2**63 + 1}]", "float32", f"{2**63 + 1} at /x/1: {2**63} was used"),
        (f"[{2**63 - 1}]", "float32", f"{2**63 - 1} at /x/0: {2**63} was used"),
        ("[257]", "bfloat16", "257 at /x/0: 256 was used"),
        ("[2049]", "float16", "2049 at /x/0: 2048 was used"),
        ("[[1, 16777217]]", "complex64", "16777217 at /x/0/1"),
    ],
)
def test_a_whole_number_that_loses_digits_adds_a_warning(text: str, dtype: str, words: str) -> None:
    """With the operand, the first such number, and the number used."""
    _, warnings = read(text, dtype=dtype)
    assert len(warnings) == 1
    assert words in warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "[0.1]",
        "[16777216.5]",
        "[0.5, 34603010.0]",
        "[1e30]",
        f"[{2**60}.0]",
        '[16777216.5, "NaN"]',
        str(10**20),
    ],
)
def test_other_rounded_numbers_add_no_warning(text: str) -> None:
    """Fractions, large floats, and the shortest text of a float32, which a response may have."""
    assert read(text)[1] == ()


@pytest.mark.parametrize(
    ("value", "dtype", "nearest"),
    [
        pytest.param(1 + 2**-8 + 2**-40, "bfloat16", 1 + 2**-7, id="above a tie"),
        pytest.param(1 + 2**-8, "bfloat16", 1, id="a tie"),
        pytest.param(-(1 + 3 * 2**-8 - 2**-40), "bfloat16", -(1 + 2**-7), id="below a tie"),
        pytest.param(1 + 2**-11 + 2**-40, "float16", 1 + 2**-10, id="above a tie of float16"),
        pytest.param(2.0**-134 * (1 + 2**-40), "bfloat16", 2.0**-133, id="subnormal"),
        pytest.param(1e-60, "bfloat16", 0, id="to zero"),
    ],
)
def test_numbers_are_rounded_once(value: float, dtype: str, nearest: float) -> None:
    """From float64 to the nearest, ties to even, not by way of another dtype."""
    assert read(repr(value), dtype=dtype)[0].item() == nearest
    assert read(f'[{value!r}, 1e4, "NaN"]', dtype=dtype)[0][0].item() == nearest
