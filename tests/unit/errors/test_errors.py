"""The tree of errors: codes, and texts of limited length."""

import inspect
import math
import re
from collections.abc import Iterator

import pytest

from service import errors
from service.errors import (
    MAX_DETAIL,
    MAX_PLACES,
    MAX_QUOTED,
    BusyError,
    Place,
    ServiceError,
    clip,
    counted,
    did_you_mean,
    escape,
    leaves,
    nearest,
    quote,
)

# `service.http.errors` adds more, when something has imported it.
LEAVES = [leaf for leaf in leaves() if leaf.__module__.startswith("service.errors")]


def test_codes_are_unique() -> None:
    """A code names one error."""
    codes = [leaf.code for leaf in LEAVES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.code)
def test_leaf_is_described(leaf: type[ServiceError]) -> None:
    """Each leaf has a slug, a title and a docstring, which clients are shown."""
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", leaf.code)
    assert leaf.title
    assert leaf.__doc__ != ServiceError.__doc__
    assert inspect.getdoc(leaf)


def test_drawn_tree_is_the_tree() -> None:
    """The tree at the top of the module is the one of the classes, in their order."""
    drawn = re.findall(
        r"^[│ ]*[├└]── (\w+)(?: +([a-z0-9-]+)$)?", errors.__doc__ or "", re.MULTILINE
    )
    assert [(name, code) for name, code in drawn if code] == [
        (leaf.__name__, leaf.code) for leaf in LEAVES
    ]
    ours = [each for each in _walk(ServiceError) if not each.__module__.startswith("service.api")]
    assert [name for name, _ in drawn] == [each.__name__ for each in ours]


def _walk(root: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in root.__subclasses__():
        if child.__module__.startswith("service.errors"):
            yield child
            yield from _walk(child)


@pytest.mark.parametrize(
    ("text", "length", "clipped"),
    [
        pytest.param("abc", 3, "abc", id="just fits"),
        pytest.param("abcd", 3, "ab…", id="cut"),
        pytest.param("", 0, "", id="empty"),
        pytest.param("a\ud800b", 5, "a?b", id="lone surrogate"),
        pytest.param("é😀", 2, "é😀", id="not ASCII"),
    ],
)
def test_clip(text: str, length: int, clipped: str) -> None:
    """A text is cut to its length, and can be written as UTF-8."""
    assert clip(text, length) == clipped
    clip(text, length).encode()


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        pytest.param("abc", "'abc'", id="text"),
        pytest.param(None, "null", id="null"),
        pytest.param(12, "12", id="integer"),
        pytest.param(True, "true", id="boolean"),
        pytest.param({"a": [False, None, "b"]}, '{"a": [false, null, "b"]}', id="nested"),
        pytest.param((2, 3), "(2, 3)", id="shape"),
        pytest.param(-math.inf, "a number beyond -1.8e308", id="beyond float64"),
        pytest.param([{1}], '["{1}"]', id="no value of JSON"),
        pytest.param(1 << 256, "an integer of 257 bits", id="large integer"),
        pytest.param(-(10**5000), "an integer of 16610 bits", id="more digits than Python prints"),
        pytest.param("x" * 70, "'" + "x" * 62 + "…", id="long text"),
        pytest.param([1] * 70, "[" + "1, " * 20 + "1,…", id="long list"),
    ],
)
def test_quote(value: object, quoted: str) -> None:
    """A value from a client is quoted in at most 64 characters."""
    assert quote(value) == quoted
    assert len(quote(value)) <= MAX_QUOTED


def test_keys_are_escaped_and_cut() -> None:
    """By the rules of RFC 6901, and to the length that an error may quote."""
    assert escape("a/b~c") == "a~1b~0c"
    assert escape("k" * 1000) == "k" * 63 + "…"


def test_nearest() -> None:
    """The choice spelt most alike is named, if one is near."""
    assert nearest("matmull", ["einsum", "matmul"]) == "matmul"
    assert nearest("zzz", ["einsum", "matmul"]) is None
    assert nearest("matmul" + "l" * 100_000, ["einsum", "matmul"]) is None
    assert did_you_mean("enisum", ["einsum", "matmul"]) == "did you mean 'einsum'?"
    assert did_you_mean("zzz", ["einsum", "matmul"]) is None
    assert nearest("TORCH", ["dot", "torch"]) == "torch"
    assert nearest("cuda:2", ["cuda:0", "cuda:1"]) == "cuda:0"
    assert nearest("", []) is None


def test_counted() -> None:
    """A noun is in the singular for one thing alone."""
    assert [counted(count, "row") for count in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert [counted(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


def test_error_is_bounded() -> None:
    """However long detail, hint and places are, an error keeps a part of them."""
    places = (Place("/a" * 1000, "wrong " * 1000) for _ in range(100))
    error = ServiceError("d" * 5000, hint="h" * 5000, places=places)
    assert len(error.detail) == MAX_DETAIL
    assert error.hint is not None
    assert len(error.hint) == MAX_DETAIL
    assert len(error.places) == MAX_PLACES
    assert {len(place.pointer) for place in error.places} == {200}
    assert {len(place.detail) for place in error.places} == {MAX_DETAIL}


def test_error_without_hint_and_places() -> None:
    """An error needs no more than a detail."""
    error = ServiceError("wrong")
    assert (str(error), error.detail, error.hint, error.places) == ("wrong", "wrong", None, ())


def test_retry_after() -> None:
    """`Retry-After` of a busy service is a second by default."""
    assert BusyError("no place").retry_after_s == 1
