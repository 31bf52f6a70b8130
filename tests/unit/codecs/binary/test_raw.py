"""Responses as bare bytes, with the envelope in headers."""

import json
from typing import Any

import pytest
import torch

from service.codecs.binary.raw import RawCodec
from service.codecs.envelope import LONGEST_HEADER
from service.codecs.tensor_bytes import COPIED_BYTES
from service.core.dtypes import DTYPES
from service.core.timing import PHASES
from tests.rigs.request_bodies import bits_of, tensor_of
from tests.unit.codecs.encoding import encode

CODEC = RawCodec()


def responded(tensor: torch.Tensor, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a response."""
    response = encode(CODEC, tensor, **fields)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return b"".join(response.chunks), headers


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0, 3)], ids=str)
def test_the_body_is_the_bytes_of_the_tensor(name: str, shape: tuple[int, ...]) -> None:
    """Shape and dtype, which are needed to read them, are headers."""
    tensor = tensor_of(name, shape)
    body, headers = responded(tensor)
    assert body == bits_of(tensor)
    assert headers["x-tensor-dtype"] == name
    assert headers["x-tensor-shape"] == ",".join(map(str, shape))


def test_views_are_sent_in_row_major_order() -> None:
    """Transposed, expanded, and conjugated tensors."""
    matrix = torch.tensor([[1 + 2j, 3j], [5, 7 - 1j]])
    for view in (matrix.T, matrix.conj(), matrix[0].expand(3, 2), matrix.T.imag):
        body, headers = responded(view)
        assert body == bits_of(view.clone().resolve_conj().resolve_neg().contiguous())
        assert headers["x-tensor-shape"] == f"{view.shape[0]},2"


def test_a_large_contiguous_tensor_is_not_copied() -> None:
    """The one chunk is the memory of the tensor."""
    tensor = torch.zeros(COPIED_BYTES)
    (chunk,) = encode(CODEC, tensor).chunks
    tensor[0] = 1
    assert bytes(chunk) == bits_of(tensor)


def test_the_envelope_is_the_answer_without_its_result() -> None:
    """One header has the envelope as JSON."""
    _, headers = responded(torch.ones(2), explanation={"steps": [1, 2]}, warnings=("careful",))
    envelope = json.loads(headers["x-envelope"])
    timing = envelope.pop("timing")
    assert envelope == {
        "op": "norm",
        "norm": {"steps": [1, 2]},
        "strategy": "torch",
        "device": "cpu",
        "warnings": ["careful"],
        "request_id": "id",
    }
    assert timing["compute_ms"] == 0.0015
    assert timing["total_ms"] == pytest.approx(0.0015 + timing["encode_ms"])
    assert set(timing) == {
        *(f"{phase}_ms" for phase in (*PHASES, "total")),
        "threads",
        "warm",
        "executor",
    }
    assert (headers["x-strategy"], headers["x-device"]) == ("torch", "cpu")
    assert "compute;dur=0.0015" in headers["server-timing"]


def test_a_long_envelope_loses_its_longest_blocks() -> None:
    """The field `dropped` has the names of removed blocks."""
    _, headers = responded(torch.ones(1), explanation={"rows": list(range(2000))})
    assert len(headers["x-envelope"]) <= LONGEST_HEADER
    assert json.loads(headers["x-envelope"])["dropped"] == ["norm"]
