"""Arrays in files, read and written by parts, as workers of a cluster do it."""

from pathlib import Path

import numpy as np
import pytest

from service.core.array_files import Sink, Source, stamp
from tests.rigs.requirements import needs

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("columns", [False, True])
def test_parts_are_read(tmp_path: Path, columns: bool) -> None:
    """A part is a copy, whichever axis of the file varies fastest."""
    path = tmp_path / "x.npy"
    np.save(path, np.asfortranarray(ROWS) if columns else ROWS)
    source = Source(str(path), (3, 4), "<f4", 128, columns, stamp(str(path)))
    part = source[1:, 2]
    assert part.tolist() == [6.0, 10.0]
    assert type(part) is np.ndarray
    assert source.dtype == np.float32
    assert source.ndim == 2


def test_a_file_that_has_changed(tmp_path: Path) -> None:
    """Reading it raises an error."""
    path = tmp_path / "x.npy"
    np.save(path, ROWS)
    source = Source(str(path), (3, 4), "<f4", 128, stamp=stamp(str(path)))
    np.save(path, ROWS[:2])
    with pytest.raises(OSError, match=r"^x\.npy has changed"):
        source[0, 0]


@needs("zarr")
def test_parts_of_a_folder_are_read(tmp_path: Path) -> None:
    """The zarr package reads zarr folders."""
    import zarr

    array = zarr.create_array(tmp_path / "x.zarr", shape=(3, 4), chunks=(2, 2), dtype="f4")
    array[...] = ROWS
    assert Source(str(tmp_path / "x.zarr"), (3, 4), "<f4")[2, 1:].tolist() == [9.0, 10.0, 11.0]


def test_parts_are_written(tmp_path: Path) -> None:
    """The whole array can be read, also after the file is deleted."""
    path = tmp_path / "x.npy"
    np.save(path, np.zeros_like(ROWS))
    sink = Sink(str(path), (3, 4), "<f4", 128)
    sink[:2] = ROWS[:2]
    sink[2] = ROWS[2]
    whole = sink.read()
    path.unlink()
    assert whole.tolist() == ROWS.tolist()
    whole[0] = 7  # torch assumes that it can
