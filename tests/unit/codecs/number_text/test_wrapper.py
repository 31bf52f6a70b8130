"""The compiled reader as Python calls it, with the extension module and without it."""

import ast
import json
from typing import Any, Final

import numpy as np
import pytest

from service.codecs import number_text
from service.codecs.number_text import (
    THREADED_BYTES,
    OperandNames,
    _compiled,
    begin,
    extract,
    set_threads,
)
from tests.rigs.paths import ROOT

NAMES: Final = OperandNames(("a", "b"))
BODY: Final = b'{"b": {"data": [[1, 2.5]]}, "dim": [0], "a": [[1, 2], [3, -4]]}'


def test_arrays_are_taken_out_of_the_text() -> None:
    """With their operand, dtype and shape, and what rounding has to know of the numbers."""
    found = extract(BODY, NAMES)
    assert found is not None
    text, (second, first) = found
    assert json.loads(text) == {"b": {"data": 0}, "dim": [0], "a": 0}
    assert (first[:2], second[:2]) == ((0, False), (1, True))
    assert (first[3:], second[3:]) == ((4.0, False), (2.5, False))
    assert (first[2].dtype, second[2].dtype) == (np.dtype(np.int64), np.dtype(np.float64))
    assert first[2].tolist() == [[1, 2], [3, -4]]
    assert second[2].tolist() == [[1.0, 2.5]]
    assert first[2].flags.writeable


@pytest.mark.parametrize("field", ["operands", "inputs"])
def test_operands_in_a_list_are_counted(field: str) -> None:
    """In the field of that name."""
    body = json.dumps({"a": [1], field: [5, [1, 2], {"x": 1}, {"data": [3]}]}).encode()
    found = extract(body, OperandNames(None, field))
    assert found is not None
    assert [(each[0], each[1], each[2].tolist()) for each in found[1]] == [
        (1, False, [1, 2]),
        (3, True, [3]),
    ]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[[1]]", id="no object"),
        pytest.param(b'{"a": [1, 2', id="cut short"),
        pytest.param(b'{"a": []}', id="an empty list"),
        pytest.param(b'{"a": [[1], 2]}', id="mixed rows"),
        pytest.param(b'{"a": [[1, 2], [3]]}', id="ragged rows"),
        pytest.param(b'{"a": [true]}', id="a boolean"),
        pytest.param(b'{"a": ["NaN"]}', id="a word"),
        pytest.param(b'{"a": [01]}', id="no number"),
        pytest.param(b'{"a": [0.5, 9007199254740993]}', id="an integer that is no float"),
        pytest.param(b'{"a": [9223372036854775808]}', id="an integer beyond 64 bits"),
        pytest.param(b'{"a": [1e400]}', id="beyond float64"),
    ],
)
def test_other_text_is_left_to_another_reader(body: bytes) -> None:
    """Which finds what is wrong with it, if anything is."""
    assert extract(body, NAMES) is None


def test_numbers_over_a_limit_are_not_read() -> None:
    """Which is that of each array."""
    assert extract(BODY, NAMES, max_numbers=4) is not None
    assert extract(BODY, NAMES, max_numbers=3) is None


@pytest.mark.parametrize("size", [THREADED_BYTES - 1, THREADED_BYTES])
def test_long_text_is_read_by_threads(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Unless the caller says otherwise; the arrays are the same."""
    given: list[object] = []
    read = _compiled.extract

    def spy(*arguments: Any) -> object:
        given.append(arguments[-1])
        return read(*arguments)

    monkeypatch.setattr(_compiled, "extract", spy)
    body = BODY.replace(b"4", b"4" + b" " * (size - len(BODY)))
    for threaded in (None, False, True):
        found = extract(body, NAMES, threaded=threaded)
        assert found is not None
        assert found[1][1][2].tolist() == [[1, 2], [3, -4]]
    assert given == [size >= THREADED_BYTES, False, True]


def test_text_is_read_as_it_arrives() -> None:
    """The result is that of the whole text."""
    reading, whole = begin(BODY, NAMES), extract(BODY, NAMES)
    assert reading is not None
    assert whole is not None
    for end in range(len(BODY) + 1):
        reading.feed(end)
    found = reading.finish()
    assert found is not None
    assert found[0] == whole[0]
    assert [each[2].tolist() for each in found[1]] == [each[2].tolist() for each in whole[1]]
    with pytest.raises(ValueError, match="no text up to there"):
        reading.feed(len(BODY) + 1)
    with pytest.raises(ValueError, match="it is over"):
        reading.finish()


def test_a_reading_that_is_stopped_leaves_others_alone() -> None:
    """Its jobs are taken back from among those that wait for threads."""
    set_threads(1)
    body = b'{"a": [%b1], "b": [2]}' % (b"1.5," * 2**18)
    found = []
    for _ in range(4):
        reading = begin(body, NAMES, piece_bytes=2**12)
        assert reading is not None
        reading.feed(len(body))
        found.append(reading)
    for at in (3, 0, 2, 3):
        found[at].stop()
    result = found[1].finish()
    assert result is not None
    assert result[1][0][2].size == 2**18 + 1
    with pytest.raises(ValueError, match="over"):
        found[0].finish()


def test_pieces_have_a_size() -> None:
    """Without one, reading would not go on."""
    with pytest.raises(ValueError, match="0 bytes"):
        extract(BODY, NAMES, piece_bytes=0)
    with pytest.raises(ValueError, match="0 elements"):
        _compiled.write_pieces(np.ones(2), 0, (2,), 0, False, False)


def test_the_number_of_threads_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the extension module alone."""
    given: list[int] = []
    monkeypatch.setattr(_compiled, "set_threads", given.append)
    set_threads(3)
    monkeypatch.setattr(number_text, "compiled", None)
    set_threads(4)
    assert given == [3]


def test_without_the_extension_module_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reader does all of it."""
    monkeypatch.setattr(number_text, "compiled", None)
    assert extract(BODY, NAMES) is None
    assert begin(BODY, NAMES) is None


def test_the_stub_has_what_the_extension_module_has() -> None:
    """Its functions, and its classes with their methods."""
    stub = ast.parse((ROOT / "service/codecs/number_text/_compiled.pyi").read_text())
    for owner, nodes in [(_compiled, stub.body)] + [
        (getattr(_compiled, node.name), node.body)
        for node in stub.body
        if isinstance(node, ast.ClassDef)
    ]:
        stated = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert stated - {"__new__"} == {name for name in dir(owner) if not name.startswith("_")}
