# The extension module, as its C files define it.

from typing import Self

import numpy as np

from service.codecs.number_text import Array, Extracted, Text

def set_powers(table: bytes, /) -> None: ...
def set_arrays(
    ndarray: type[Array], int64: np.dtype[np.int64], float64: np.dtype[np.float64], /
) -> None: ...
def set_threads(count: int, /) -> None: ...
def extract(
    text: Text,
    names: bytes,
    list_field: bytes,
    max_numbers: int,
    piece_bytes: int,
    threaded: bool,
    /,
) -> Extracted | None: ...
def text_bound(kind: int, shape: tuple[int, ...], first: int, last: int, /) -> int: ...
def write(
    items: Array, kind: int, shape: tuple[int, ...], first: int, last: int, quoted: bool, /
) -> bytes: ...
def write_into(
    items: Array,
    kind: int,
    shape: tuple[int, ...],
    first: int,
    last: int,
    quoted: bool,
    out: bytearray | Array,
    at: int,
    /,
) -> int: ...
def write_pieces(
    items: Array,
    kind: int,
    shape: tuple[int, ...],
    piece_items: int,
    quoted: bool,
    threaded: bool,
    /,
) -> list[memoryview]: ...
def allow_avx512(allowed: bool, /) -> bool: ...

class Reading:
    def __new__(
        cls,
        text: Text,
        names: bytes,
        list_field: bytes,
        max_numbers: int,
        piece_bytes: int,
        threaded: bool,
        /,
    ) -> Self: ...
    def feed(self, end: int, /) -> None: ...
    def finish(self) -> Extracted | None: ...
    def stop(self) -> None: ...
