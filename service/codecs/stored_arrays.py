"""Stored arrays: operands by reference, and results stored under a name.

All of them are files in one folder on the server. A client sends names, never paths: a name that
resolves to a file outside of that folder is not found.
"""

import mmap
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Final, NoReturn
from uuid import uuid4

import numpy as np
import torch

from service.codecs.base import Body
from service.codecs.binary.npy import CODES, read_slice, write_header
from service.codecs.binary.slices import TensorSlice
from service.codecs.request import WholeOperand
from service.core.array_files import Sink, Source, map_file, open_zarr, stamp
from service.core.call import Spec, Stored, StoreTarget, Tensor, stored
from service.core.dtypes import Dtype, describe
from service.errors import (
    ArrayExistsError,
    ArrayUnavailableError,
    MalformedBodyError,
    Place,
    UnknownDtypeError,
    did_you_mean,
    quote,
)

# No part begins with a dot, which excludes `..` and the temporary files of unfinished results.
NAME_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
NAME: Final = re.compile(rf"{NAME_PART}(/{NAME_PART})*", re.ASCII)
MAX_NAME_LENGTH: Final = 255
# pathlib raises RuntimeError for a loop of links.
UNRESOLVED: Final = (OSError, RuntimeError)
NAME_HINT: Final = "names are those of files, such as weights.npy or layers/first.zarr"


@dataclass(frozen=True, slots=True)
class StoredOperand(WholeOperand):
    """An operand by reference, whose elements stay in its file."""

    tensor: Stored
    pointer: str

    @property
    def dtype(self) -> Dtype:
        """The dtype in the file's header."""
        return describe(self.tensor.dtype)

    def read(self, dtype: Dtype) -> tuple[Tensor, None]:
        """Return the reference; the strategy loads the elements."""
        return self.tensor, None


@dataclass(frozen=True, slots=True)
class ArrayFolder:
    """The folder SERVICE_DATA. `root` is its path with symbolic links resolved."""

    root: Path

    def find(self, name: object, pointer: str) -> Stored:
        """Return the array of that name, reading its header alone.

        Raises ArrayUnavailableError if there is none, or if it cannot be read.
        """
        path = self._path(name, pointer)
        try:
            found = path.resolve(strict=True)
            mode = found.stat().st_mode
        except UNRESOLVED:
            self._refuse_absent(path, pointer)
        if not found.is_relative_to(self.root):
            self._refuse_absent(path, pointer)
        try:
            if path.suffix == ".npy" and stat.S_ISREG(mode):
                return _open_npy(str(name), str(found))
            if path.suffix == ".zarr" and stat.S_ISDIR(mode):
                return _open_zarr(str(name), str(found))
        except (OSError, ValueError) as error:
            _refuse(f"{quote(name)} cannot be read: {_reason(error)}", pointer)
        except (MalformedBodyError, UnknownDtypeError) as error:
            _refuse(error.detail, pointer, hint=error.hint)
        return _refuse(
            f"{quote(name)} is neither an .npy file nor a .zarr folder", pointer, hint=NAME_HINT
        )

    def store_target(self, name: object, pointer: str, *, overwrite: bool) -> StoreTarget:
        """Return the target that a result is stored in under that name.

        Raises ArrayExistsError if the name is taken and `overwrite` is false.
        """
        path = self._path(name, pointer)
        if path.suffix != ".npy":
            _refuse(f"{quote(name)}: results are stored as npy files", pointer, hint="end it .npy")
        try:
            parent = path.parent.resolve(strict=True)
        except UNRESOLVED:
            parent = self.root.parent
        if not parent.is_relative_to(self.root):
            _refuse(f"there is no folder {quote(name)} could lie in", pointer, hint=NAME_HINT)
        if os.path.lexists(path) and not overwrite:
            raise _name_taken_error(str(name), pointer)
        final = parent / path.name
        return StoreTarget(str(name), partial(self._create, final, pointer, overwrite=overwrite))

    def scratch(self) -> StoreTarget:
        """Return a target without a name, whose file is removed after use."""
        return StoreTarget("", partial(self._create, None, "/output"))

    def _path(self, name: object, pointer: str) -> Path:
        if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name):
            _refuse(
                f"a stored array is named by at most {MAX_NAME_LENGTH} letters, digits, '.', '_', "
                "'-' and '/', and it begins, as after each '/', with a letter, a digit or '_'; "
                f"it was {quote(name)}",
                pointer,
                hint=NAME_HINT,
            )
        return self.root / name

    def _refuse_absent(self, path: Path, pointer: str) -> NoReturn:
        hint = None
        with suppress(OSError):
            if self._holds(path.parent):
                names = [each.name for each in path.parent.iterdir() if NAME.fullmatch(each.name)]
                if path.name in names:
                    hint = "a link of that name leads to nothing in the folder of stored arrays"
                else:
                    hint = did_you_mean(
                        path.name, (each for each in names if self._holds(path.parent / each))
                    )
        _refuse(
            f"no stored array is named {quote(str(path.relative_to(self.root)))}",
            pointer,
            hint=hint or NAME_HINT,
        )

    def _holds(self, path: Path) -> bool:
        """Return whether a path, with links resolved, exists in the folder."""
        try:
            return path.resolve(strict=True).is_relative_to(self.root)
        except UNRESOLVED:
            return False

    @contextmanager
    def _create(
        self, final: Path | None, pointer: str, spec: Spec, *, overwrite: bool = False
    ) -> Iterator[Sink]:
        folder = self.root if final is None else final.parent
        part = folder / f".{uuid4().hex}.npy"
        dtype = describe(spec.dtype)
        header = write_header(dtype, spec.shape)
        try:
            with part.open("xb") as file:
                # Space is allocated before: a write to a mapped file on a full disk kills the
                # process.
                size = len(header) + prod(spec.shape) * dtype.itemsize
                os.posix_fallocate(file.fileno(), 0, size)
                file.write(header)
            yield Sink(str(part), spec.shape, dtype.numpy.str, len(header))
            if final is not None:
                _publish(part, final, overwrite=overwrite)
        except FileExistsError:
            raise _name_taken_error(str(final and final.name), pointer) from None
        except OSError as error:
            _refuse(f"the result cannot be stored: {_reason(error)}", pointer)
        finally:
            part.unlink(missing_ok=True)


def _publish(part: Path, final: Path, *, overwrite: bool) -> None:
    """Give a finished file its name atomically; FileExistsError if that name is taken."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if overwrite:
        part.replace(final)
    else:
        final.hardlink_to(part)


def _open_npy(name: str, path: str) -> Stored:
    size = stamp(path)
    with (
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        tensor_slice = read_slice(mapped, name)
    source = Source(
        path,
        tensor_slice.shape,
        tensor_slice.dtype.numpy.str,
        tensor_slice.offset,
        tensor_slice.column_major,
        size,
    )
    return stored(
        name, tensor_slice.dtype.torch, source, partial(_read_npy, name, tensor_slice, source)
    )


def _read_npy(name: str, tensor_slice: TensorSlice, source: Source) -> Tensor:
    try:
        if stamp(source.path) == source.stamp:
            return tensor_slice.read(map_file(source.path), "")
        reason = "it has changed since it was asked for"
    except OSError as error:
        reason = _reason(error)
    raise ArrayUnavailableError(f"{quote(name)} cannot be read: {reason}")


def _open_zarr(name: str, path: str) -> Stored:
    if find_spec("zarr") is None:
        raise ValueError("zarr is not installed; it is the extra [zarr] of this service")
    try:
        array = open_zarr(path)
        shape, code = tuple(map(int, array.shape)), np.dtype(array.dtype).str
    except Exception as error:
        raise ValueError(f"the zarr package does not open it ({type(error).__name__})") from error
    if code not in CODES:
        raise ValueError(f"its dtype is {code}; choose one of {', '.join(CODES)}")
    source = Source(path, shape, code)
    return stored(name, CODES[code].torch, source, partial(_read_zarr, name, source))


def _read_zarr(name: str, source: Source) -> Tensor:
    try:
        return torch.from_numpy(np.array(source[...], order="C"))
    except Exception as error:
        reason = f"the zarr package does not read it ({type(error).__name__})"
        raise ArrayUnavailableError(f"{quote(name)} cannot be read: {reason}") from error


def _reason(error: Exception) -> str:
    """Return the text of an error without the path of the file."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _name_taken_error(name: str, pointer: str) -> ArrayExistsError:
    return ArrayExistsError(
        f"there is a stored array named {quote(name)} already",
        hint='"overwrite": true beside the name replaces it',
        places=[Place(pointer, "the name is taken")],
    )


def _refuse(detail: str, pointer: str, *, hint: str | None = None) -> NoReturn:
    raise ArrayUnavailableError(detail, hint=hint, places=[Place(pointer, "not available")])


def names_array(body: Body) -> bool:
    """Return whether a JSON body may refer to a stored array, so that decoding reads a disk.

    Also true for a body with an escaped character, which may be part of one of the keys.
    """
    if isinstance(body, memoryview):  # `in` finds integers alone in it
        body = bytes(body)
    return b'"ref"' in body or b'"store"' in body or b"\\u" in body
