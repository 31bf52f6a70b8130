"""Each number is read as Python's float and orjson read it, bit for bit."""

import numpy as np
import orjson
import pytest

from tests.rigs.number_text import is_same
from tests.rigs.requirements import needs
from tests.unit.codecs.json.number_oracle import rounded
from tests.unit.codecs.json.test_corner_cases import NO_NUMBERS, WRITTEN
from tests.unit.codecs.number_text.extraction_oracle import (
    array_of,
    expected_items,
)
from tests.unit.codecs.number_text.number_texts import FLOATS, INTEGERS, batches
from tests.unit.codecs.number_text.settings import NUMBERS, SEED

pytestmark = needs("compiled code")

# Beyond so many digits orjson leaves some out, and rounds some ties to the wrong side.
ORJSON_DIGITS = 700


def wrong(texts: list[str]) -> list[str]:
    """Return the numbers, read together and alone, that are not those of Python; shortest first."""
    if is_same_as_python(texts):
        return []
    alone = [text for text in texts if not is_same_as_python([text])]
    return sorted(alone, key=len)[:5] or [f"together: {','.join(texts)[:2000]}"]


def is_same_as_python(texts: list[str]) -> bool:
    """Return whether a list of numbers becomes the array that it has to be."""
    found, right = array_of(f"[{','.join(texts)}]"), expected_items(texts)
    return right is None if found is None else is_same(found, right)


@pytest.mark.parametrize("kind", [*FLOATS, *INTEGERS])
def test_numbers_are_those_of_python(kind: str) -> None:
    """Thousands of texts of each kind, as the elements of one array."""
    for texts in batches(kind, NUMBERS, SEED):
        assert wrong(texts) == []


@pytest.mark.parametrize("kind", [*FLOATS, *INTEGERS])
def test_a_number_alone_is_the_same(kind: str) -> None:
    """At the begin and the end of a body, where no more bytes can be read than there are."""
    texts = next(batches(kind, NUMBERS // 50, SEED + 1))
    assert [text for text in texts if not is_same_as_python([text])] == []


@pytest.mark.parametrize("kind", [*FLOATS, *INTEGERS])
def test_numbers_are_those_of_orjson(kind: str) -> None:
    """Another implementation than that of Python, except for very long texts."""
    for batch in batches(kind, NUMBERS // 10, SEED + 2):
        texts = [text for text in batch if len(text) < ORJSON_DIGITS]
        items = np.array(orjson.loads(f"[{','.join(texts)}]"))
        found = array_of(f"[{','.join(texts)}]")
        assert found is not None
        assert is_same(found, items)


def test_the_corner_cases_of_the_grammar() -> None:
    """Those that every reader of JSON is tested with; None is what the reader has to leave."""
    for text in WRITTEN:
        right = expected_items([text])
        if right is not None and right.dtype == np.float64:
            assert repr(right.item()) == repr(rounded(text, "float64"))
        assert is_same_as_python([text]), text[:80]
        assert is_same_as_python(["0.5", text, "7"]), text[:80]


@pytest.mark.parametrize("before", ["", "1,", "0.5,"])
def test_what_is_no_number_is_left(before: str) -> None:
    """In each place of a grammar that other languages extend."""
    assert [text for text in NO_NUMBERS if array_of(f"[{before}{text}]") is not None] == []


BEYOND = (
    "1e309", "-1e309", "1.7976931348623159e308", "1e999999999999", "9" * 309 + ".0", "2e308",
    f"{2**1024 - 2**970}.0", f"{2**1024 - 2**970}{'0' * 30}e-30", f"{2**1024}.5",
    "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" + "0" * 30,
)  # fmt: skip


@pytest.mark.parametrize("text", BEYOND)
def test_a_number_beyond_both_dtypes_is_left(text: str) -> None:
    """Others have a message for it."""
    assert array_of(f"[{text}]") is None
    assert array_of(f"[0.5,{text},1]") is None
    assert array_of(f"[[1,2],[{text},1]]") is None


@pytest.mark.parametrize("text", ["9007199254740993", "-9007199254740993", "9223372036854775807"])
def test_an_integer_among_floats_is_exact_or_left(text: str) -> None:
    """Before and behind the float."""
    assert array_of(f"[{text},0.5]") is None
    assert array_of(f"[0.5,{text}]") is None
    assert array_of(f"[{','.join([text] * 40)},0.5]") is None
    assert array_of("[9007199254740992,-9007199254740992,0.5]") is not None


def test_a_negative_zero_is_a_float() -> None:
    """Among integers, too, which become floats by it."""
    found = array_of("[1,-0,2]")
    assert found is not None
    assert is_same(found, np.array([1.0, -0.0, 2.0]))
