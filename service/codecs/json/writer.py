"""Results as JSON text: nested, flat, base64, a summary, a reference, or the shape alone.

A summary describes a tensor without its elements: extremes, mean, norm, counts, corner and digest.
It works on chunks, so that no copy is as large as a result in a file may be.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import orjson
import pybase64
import torch

from service.codecs.json.rounding import Array
from service.codecs.number_text import write
from service.codecs.tensor_bytes import PLAIN, to_bytes
from service.core.call import Output, StoreTarget, Tensor
from service.core.dtypes import describe
from service.core.response import Chunks

# The greatest integer that every JSON reader keeps: JavaScript's Number.MAX_SAFE_INTEGER.
SAFE: Final = 2**53 - 1
CORNER_SIZE: Final = 4
CHUNK_ELEMENTS: Final = 2**20
# Time to write an element as text.
ELEMENT_NS: Final = 15


def result_json(tensor: Tensor, output: Output) -> Chunks:
    """Return the JSON object of a result.

    All forms but summaries and `none` can be sent as an operand.
    """
    head = _head(tensor.shape, tensor.dtype)
    if isinstance(output, StoreTarget):
        return (b'%b,"ref":"%b"}' % (head, output.name.encode()),)
    if output == "none":
        return (head + b"}",)
    if output == "base64":
        return (head + b',"b64":"', pybase64.b64encode(to_bytes(tensor)), b'"}')
    if output == "summary":
        return (b'%b,"summary":%b}' % (head, _summary_json(tensor)),)
    return (head + b',"data":', *data_json(tensor, flat=output == "flat"), b"}")


@lru_cache(maxsize=1024)
def _head(shape: torch.Size, dtype: torch.dtype) -> bytes:
    """Return the beginning of the object."""
    name = describe(dtype).name.encode()
    return b'{"shape":%b,"dtype":"%b"' % (orjson.dumps(tuple(shape)), name)


def data_json(tensor: Tensor, *, flat: bool = False, quotes: bool = True) -> Chunks:
    """Return the elements as JSON text, in the fewest digits that read back equal.

    With `quotes`, integers are strings if one of them is beyond 2^53.
    """
    array = _array(tensor)
    if flat:
        array = array.reshape(-1)
    elif array.ndim == 0:
        (text,) = data_json(tensor, flat=True, quotes=quotes)
        return (text[1:-1],)
    is_quoted = quotes and array.dtype == np.int64 and not _is_safe(array)
    chunks = write(array, is_quoted=is_quoted) if array.size else None
    return (_write_slowly(array, is_quoted=is_quoted),) if chunks is None else chunks


def _is_safe(integers: Array) -> bool:
    return not integers.size or bool(-SAFE <= integers.min() <= integers.max() <= SAFE)


def _write_slowly(array: Array, *, is_quoted: bool) -> bytes:
    """Return the elements as JSON text, by orjson."""
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    # `null` stands for a nonfinite number, and no number has an n.
    if array.dtype.kind == "f" and b"n" in text:
        return _write_nonfinite(text, array)
    return _quote_integers(text) if is_quoted else text


def _array(tensor: Tensor) -> Array:
    """Return an array that orjson can write: contiguous, real, of a dtype that numpy has."""
    if tensor.dtype in PLAIN and tensor.is_contiguous() and not tensor.is_neg():
        return tensor.numpy()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    elif tensor.dtype == torch.bfloat16:
        tensor = tensor.to(torch.float32)
    return tensor.resolve_neg().contiguous().numpy()


def _quote_integers(text: bytes) -> bytes:
    """Return nested lists of integers as lists of strings.

    Replacing is five times as fast as a match of a regular expression for each integer.
    """
    for found, new in ((b",", b'","'), (b"[", b'["'), (b"]", b'"]'), (b']","[', b"],[")):
        text = text.replace(found, new)
    for found, new in ((b'["[', b"[["), (b']"]', b"]]")):
        while found in text:
            text = text.replace(found, new)
    return text


def _write_nonfinite(text: bytes, array: Array) -> bytes:
    """Replace the nulls that orjson writes for nonfinite numbers by their words, in order."""
    odd = array[~np.isfinite(array)]
    words = np.where(np.isnan(odd), b'"NaN"', np.where(odd > 0, b'"Infinity"', b'"-Infinity"'))
    pieces = [b""] * (2 * odd.size + 1)
    pieces[::2] = text.split(b"null")
    pieces[1::2] = words.tolist()
    return b"".join(pieces)


def _summary_json(tensor: Tensor) -> bytes:
    bounds = _min_max(tensor)
    numbers = {
        "min": bounds and bounds[0],
        "max": bounds and bounds[1],
        "mean": _mean(tensor),
        "frobenius": _frobenius(tensor),
        "corner": _corner(tensor),
    }
    texts = {
        name: None if number is None else orjson.Fragment(b"".join(data_json(number)))
        for name, number in numbers.items()
    }
    corner_text = texts.pop("corner")
    counts = _count_nonfinite(tensor)
    return orjson.dumps(texts | counts | {"corner": corner_text, "sha256": _digest(tensor)})


def _min_max(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the least and the greatest finite element; None if complex, or if there is none."""
    if tensor.is_complex():
        return None
    # torch does not order bool.
    ordered = torch.uint8 if tensor.dtype == torch.bool else tensor.dtype
    found = [torch.stack(chunk.to(ordered).aminmax()) for chunk in _finite_chunks(tensor)]
    if not found:
        return None
    both = torch.stack(found)
    return both.min().to(tensor.dtype), both.max().to(tensor.dtype)


def _mean(tensor: Tensor) -> Tensor | None:
    """Return the mean of the finite elements, summed in float64; None if there is none."""
    scale = _scale(tensor)
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    sums = [((chunk.to(wide) / scale).sum(), chunk.numel()) for chunk in _finite_chunks(tensor)]
    if not sums:
        return None
    count = sum(number for _, number in sums)
    return torch.stack([total for total, _ in sums]).sum() / count * scale


def _frobenius(tensor: Tensor) -> Tensor:
    """Return the Frobenius norm in float64, infinite only if the norm itself is beyond float64."""
    scale = _scale(tensor)
    squares = []
    for chunk in _chunks(tensor):
        real = chunk.abs() if chunk.is_complex() else chunk
        squares.append((real.double() / scale).square().sum())
    return torch.stack(squares).sum().sqrt() * scale


def _count_nonfinite(tensor: Tensor) -> dict[str, int]:
    """Return the numbers of NaN and infinities; for complex numbers, those of the parts."""
    counts = dict.fromkeys(("nan", "posinf", "neginf"), 0)
    for chunk in _chunks(tensor):
        numbers = torch.view_as_real(chunk.resolve_conj()) if chunk.is_complex() else chunk
        counts["nan"] += int(torch.isnan(numbers).sum())
        counts["posinf"] += int(torch.isposinf(numbers).sum())
        counts["neginf"] += int(torch.isneginf(numbers).sum())
    return counts


def _corner(tensor: Tensor) -> Tensor:
    """Return the first 4 by 4 elements of the last two axes, at index 0 of the others."""
    if not tensor.numel():
        return tensor.new_empty(0)
    last = tensor[(0,) * max(tensor.dim() - 2, 0)]
    return last[tuple(slice(CORNER_SIZE) for _ in last.shape)]


def _digest(tensor: Tensor) -> str:
    """Return the SHA-256 of the little-endian bytes in row-major order."""
    return hashlib.sha256(to_bytes(tensor)).hexdigest()


def _chunks(tensor: Tensor) -> Sequence[Tensor]:
    """Return the elements in flat chunks."""
    return torch.split(tensor.reshape(-1), CHUNK_ELEMENTS)


def _finite_chunks(tensor: Tensor) -> Iterator[Tensor]:
    """Iterate over the finite elements of each chunk that has some."""
    for chunk in _chunks(tensor):
        finite = chunk[torch.isfinite(chunk)]
        if finite.numel():
            yield finite


def _scale(tensor: Tensor) -> float:
    """Return a power of two near the largest magnitude: dividing by it changes no digit."""
    largest = 0.0
    for chunk in _finite_chunks(tensor):
        real = torch.view_as_real(chunk.resolve_conj()) if chunk.is_complex() else chunk
        largest = max(largest, float(real.double().abs().max()))
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
