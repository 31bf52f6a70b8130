"""Arrays in files: read by parts and written by parts, wherever their folder is mounted.

Workers of a cluster import this module and nothing else of the service: no torch.
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
    """An array in a file, which is opened whenever a part of it is read.

    `code` is numpy's text for its dtype. The elements of an npy file begin at `offset`, those of a
    zarr folder, which has none, are read by the zarr package. With `columns` the first axis varies
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
        """The dtype, as numpy has it."""
        return np.dtype(self.code)

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> Array:
        """A part, in memory of its own. An OSError says that the file is not what it was."""
        if self.offset is None:
            return np.asarray(open_zarr(self.path)[index])
        if self.stamp != stamp(self.path):
            raise OSError(f"{Path(self.path).name} has changed since it was asked for")
        order: Any = "F" if self.columns else "C"
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
        return np.array(mapped[index])


@dataclass(frozen=True, slots=True)
class Sink:
    """An npy file that is there already, header and all, to be filled by parts."""

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
        """The array in the file, which may go away meanwhile; see `map_file`."""
        return np.ndarray(self.shape, self.code, map_file(self.path), self.offset)


def map_file(path: str) -> mmap.mmap:
    """A file as memory, none of which is read before it is looked at.

    torch takes for granted that it can write: a page that is written to becomes a private copy,
    for which no memory is set aside before.
    """
    with Path(path).open("rb") as file:
        flags = mmap.MAP_PRIVATE | MAP_NORESERVE
        return mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def stamp(path: str) -> Stamp:
    """What changes when a file is written to: its size, and when it was written, in ns."""
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def open_zarr(path: str) -> Any:
    """The zarr array in a folder."""
    import zarr  # which a host or a worker without such arrays need not have

    return zarr.open_array(path, mode="r")
