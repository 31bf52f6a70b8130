"""Tests of JSON objects whose fields are attributes."""

import copy
import json
import pickle

import pytest

from tensor_service_client.documents import Document


class Part(Document):
    """A part of a whole."""

    size: int
    reason: str | None


class Whole(Document, first=Part, parts=Part):
    """Parts, and one more."""

    first: Part
    parts: list[Part]


FIELDS = {"first": {"size": 1}, "parts": [{"size": 2}, {"size": 3, "new": 4}], "more": [{}]}


def test_fields_are_attributes_and_keys() -> None:
    """Known ones have types, and others are there too."""
    whole = Whole(FIELDS)
    assert whole.first.size == whole["first"]["size"] == 1
    assert [type(each) for each in whole.parts] == [Part, Part]
    assert whole.parts[1].new == 4
    assert whole.more == [{}]
    assert {"more", "parts", "to_dict"} <= set(dir(whole))


def test_a_missing_field() -> None:
    """None if the type knows it; otherwise the error names those that are there."""
    assert Part({"size": 1}).reason is None
    with pytest.raises(AttributeError, match="Part has no field 'length'; it has size"):
        _ = Part({"size": 1}).length


def test_a_null_is_no_part() -> None:
    """It stays None."""
    assert Whole({"first": None}).first is None


@pytest.mark.parametrize("fields", [5, None, "text", [1]])
def test_no_object(fields: object) -> None:
    """Another JSON value is refused, as a part too."""
    with pytest.raises((TypeError, ValueError)):
        Part(fields)  # type: ignore[arg-type]
    if fields is not None:
        with pytest.raises((TypeError, ValueError)):
            Whole({"first": fields})


def test_copies() -> None:
    """As dictionaries of Python, as JSON, by pickle and by copy."""
    whole = Whole(FIELDS)
    plain = whole.to_dict()
    assert plain == FIELDS
    assert type(plain["first"]) is type(plain["parts"][0]) is dict
    assert json.loads(json.dumps(whole)) == FIELDS
    for copied in (pickle.loads(pickle.dumps(whole)), copy.deepcopy(whole)):
        assert copied == whole
        assert type(copied.first) is Part
