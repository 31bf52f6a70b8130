"""Bodies with random edits: what is taken is what a strict parser takes, with the same numbers."""

from collections import Counter
from typing import Final

import pytest

from tests.rigs.number_text import extract
from tests.rigs.requirements import needs
from tests.unit.codecs.number_text.extraction_oracle import Outcome, is_plain, outcome
from tests.unit.codecs.number_text.mutated_bodies import BODIES, NAMES, ODD, bodies
from tests.unit.codecs.number_text.settings import BODIES as COUNT
from tests.unit.codecs.number_text.settings import SEED

pytestmark = needs("compiled code")

NOT_PLAIN: Final = (
    '{"a":[1],"a":[2]}',
    '{"a":[1],"a":2}',
    '{"a":1,"a":[2]}',
    '{"\\u0061":[1]}',
    '{"a":[1],"\\u0061":[2]}',
    '{"a":{"data":[1],"data":[2]}}',
    '{"a":{"data":[1],"data":2}}',
    '{"a":{"dat\\u0061":[1]}}',
    '{"a":{"data":[1],"dat\\u0061":[2]}}',
    "[1]",
    "0",
    '"a"',
    '[{"a":[1]}]',
    '{"a":[1]}{"a":[1]}',
    '{"a":[1]},',
    '{"a":[1]}0',
    '{"a":[1]',
    '{"a":[1]]',
    '\ufeff{"a":[1]}',
    '\x00{"a":[1]}',
    '{"a":[1]}\x00',
    '{"a":[1],}',
    '{,"a":[1]}',
    "",
    '{"a":[1] "b":[2]}',
    '{"a" [1]}',
    "{a:[1]}",
    "{'a':[1]}",
    '{"a"::[1]}',
    '{"a":[1],"b"}',
)


@pytest.mark.parametrize("form", ['{"a":%s}', '{"a": %s ,"b":[1]}', '{"b":[1],"a":{"data":%s}}'])
@pytest.mark.parametrize("text", ODD)
def test_an_odd_array_is_left(text: str, form: str) -> None:
    """Or refused, for what stands beside it."""
    body = (form % text).encode()
    found = extract(body, NAMES)
    assert outcome(body, NAMES, found) in (Outcome.LEFT, Outcome.REFUSED)


@pytest.mark.parametrize("body", NOT_PLAIN)
def test_a_document_that_is_not_plain_is_left(body: str) -> None:
    """Or refused, or its last value of a name is taken."""
    text = body.encode()
    found = extract(text, NAMES)
    assert outcome(text, NAMES, found) in (Outcome.LEFT, Outcome.REFUSED)


@pytest.mark.parametrize("names", [NAMES, None, ("b",), ("operands",)])
@pytest.mark.parametrize("body", BODIES)
def test_a_valid_body_is_taken(body: bytes, names: tuple[str, ...] | None) -> None:
    """Unless an operand is a list of anything else than numbers."""
    found = outcome(body, names, extract(body, names))
    assert found == (Outcome.EXTRACTED if is_plain(body, names) else Outcome.LEFT)


def test_mutated_bodies_are_taken_as_a_strict_parser_takes_them() -> None:
    """None is taken that it refuses, and none is left that is plain; each outcome occurs often."""
    counts: Counter[Outcome] = Counter()
    for body, names in bodies(SEED, COUNT):
        found = extract(body, names)
        try:
            result = outcome(body, names, found)
            assert result is Outcome.EXTRACTED or not is_plain(body, names)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"{body!r} with {names}: {found}") from error
        counts[result] += 1
    assert min(counts[each] for each in Outcome) > COUNT / 20, counts
