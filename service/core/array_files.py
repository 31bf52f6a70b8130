"""Arrays in files, read and written by parts, wherever their folder is mounted.

Workers of a Dask cluster import this module and no other of the service: it does not need torch.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Stamp = tuple[int, int]
# Python's mmap has the name since 3.13.
MAP_NORESERVE: Final = 0x4000


@dataclass(frozen=True, slots=True)
class Source:
    """Array in a file that is opened for each read.

    `code` is numpy's text of its dtype. The elements of an npy file begin at `offset`. A zarr
    folder has no offset and is read by the zarr package. With `columns` the first axis varies
    fastest.
    """

    path: str
    shape: tuple[int, ...]
    code: str
    offset: int | None = None
    columns: bool = False
    stamp: Stamp | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype as a numpy type."""
        return np.dtype(self.code)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> Array:
        """Return a copy of a part; raise OSError if the file is gone or has changed."""
        if self.offset is None:
            return np.asarray(open_zarr(self.path)[index])
        if self.stamp != stamp(self.path):
            raise OSError(f"{Path(self.path).name} has changed since it was asked for")
        order: Any = "F" if self.columns else "C"
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
        return np.array(mapped[index])


@dataclass(frozen=True, slots=True)
class Sink:
    """Existing npy file, header included, whose elements are written by parts."""

    path: str
    shape: tuple[int, ...]
    code: str
    offset: int

    def __setitem__(self, index: Any, part: Any) -> None:
        """Write one part."""
        mapped = np.memmap(self.path, np.dtype(self.code), "r+", self.offset, self.shape)
        mapped[index] = part
        mapped.flush()

    def read(self) -> Array:
        """Return the array of the file, which may be deleted meanwhile; see `map_file`."""
        return np.ndarray(self.shape, self.code, map_file(self.path), self.offset)


def map_file(path: str) -> mmap.mmap:
    """Map a file into memory; pages are read on first access.

    The mapping is private and writable, since torch assumes that it can write. A page that is
    written becomes a private copy, for which no memory is reserved beforehand.
    """
    with Path(path).open("rb") as file:
        flags = mmap.MAP_PRIVATE | MAP_NORESERVE
        return mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def stamp(path: str) -> Stamp:
    """Return size and modification time (ns) of a file, which change when it is written."""
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def open_zarr(path: str) -> Any:
    """Return the zarr array of a folder."""
    import zarr  # not installed where no such arrays are used

    return zarr.open_array(path, mode="r")
