"""The field `output`: a form of the result, or the name to store it under."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.codecs import DecodeContext
from service.codecs.output_field import arrays_of, parse_output
from service.codecs.stored_arrays import ArrayFolder
from service.core.call import OUTPUTS, StoreTarget
from service.core.dtypes import DTYPES
from service.errors import (
    ArrayExistsError,
    ArrayUnavailableError,
    InvalidFieldError,
    UnknownFieldError,
)

CONTEXT = DecodeContext(max_elements=1, dtype=DTYPES["float32"], max_deadline_ms=1)


@pytest.fixture
def context(tmp_path: Path) -> DecodeContext:
    """Return a context with a folder of stored arrays, which has a file taken.npy."""
    (tmp_path / "taken.npy").touch()
    return replace(CONTEXT, arrays=ArrayFolder(tmp_path.resolve()))


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_form_of_the_result(output: str) -> None:
    """Each of the forms is accepted by its name."""
    assert parse_output(output, CONTEXT) == output


@pytest.mark.parametrize("value", ["nestd", "", None, 1, True, ["nested"]])
def test_another_form_is_refused(value: object) -> None:
    """The place is the field."""
    with pytest.raises(InvalidFieldError) as caught:
        parse_output(value, CONTEXT)
    assert [place.pointer for place in caught.value.places] == ["/output"]


def test_other_formats_have_no_forms() -> None:
    """The hint is to accept JSON."""
    with pytest.raises(InvalidFieldError) as caught:
        parse_output("nested", replace(CONTEXT, has_outputs=False))
    assert "application/json" in str(caught.value.hint)


def test_a_result_is_stored_under_a_name(context: DecodeContext) -> None:
    """An existing array is replaced only with `overwrite`."""
    for value in ({"store": "x.npy"}, {"store": "taken.npy", "overwrite": True}):
        output = parse_output(value, context)
        assert isinstance(output, StoreTarget)
        assert output.name == value["store"]
    with pytest.raises(ArrayExistsError):
        parse_output({"store": "taken.npy", "overwrite": False}, context)


@pytest.mark.parametrize(
    ("value", "error", "pointer"),
    [
        ({"store": "x.npy", "overwrit": True}, UnknownFieldError, "/output/overwrit"),
        ({"store": "../x.npy"}, ArrayUnavailableError, "/output/store"),
        ({"store": 1}, ArrayUnavailableError, "/output/store"),
        ({}, ArrayUnavailableError, "/output/store"),
    ],
)
def test_a_wrong_object_is_refused_with_its_place(
    context: DecodeContext, value: object, error: type[Exception], pointer: str
) -> None:
    """Unknown keys, values of another kind, and names outside of the folder."""
    with pytest.raises(error) as caught:
        parse_output(value, context)
    assert [place.pointer for place in getattr(caught.value, "places", [])] == [pointer]


def test_overwrite_is_a_boolean(context: DecodeContext) -> None:
    """1 and "true" are none."""
    for value in (1, "true"):
        with pytest.raises(InvalidFieldError, match="overwrite"):
            parse_output({"store": "x.npy", "overwrite": value}, context)


def test_a_service_without_stored_arrays(context: DecodeContext) -> None:
    """The error has the pointer of the field, and the setting that is missing."""
    assert arrays_of(context, "/a/ref") is context.arrays
    with pytest.raises(ArrayUnavailableError, match="SERVICE_DATA") as caught:
        arrays_of(CONTEXT, "/a/ref")
    assert [place.pointer for place in caught.value.places] == ["/a/ref"]
