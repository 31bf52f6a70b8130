"""npz: archives of numpy.savez are read, and all kinds of inconsistent archives are refused."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs import DecodeContext
from service.codecs.binary.npz import NpzCodec, read_members
from service.core.dtypes import parse_dtype
from service.errors import (
    BodyTooLargeError,
    DuplicateKeyError,
    LimitExceededError,
    MalformedBodyError,
    MissingFieldError,
    ServiceError,
    UnknownDtypeError,
    UnknownFieldError,
)
from service.operations import REGISTRY
from tests.rigs.request_bodies import IN_NUMPY, bits_of, npy_of, npz_of, tensor_of, zip_of, zipped

CODEC = NpzCodec()
CONTEXT = DecodeContext(max_elements=2**24, dtype=parse_dtype("float32"), max_deadline_ms=1000)
FILE = npy_of(np.ones(2, np.float32))
NAME = b"x.npy"


def operands(body: bytes, op: str = "norm") -> tuple[torch.Tensor, ...]:
    """Return the operands of a call on that body."""
    return CODEC.decode(bytearray(body), REGISTRY[op], CONTEXT).operands


def deflate(data: bytes) -> bytes:
    """Return a stream without a header."""
    machine = zlib.compressobj(9, wbits=-15)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize("name", IN_NUMPY)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
@pytest.mark.parametrize("deflated", [False, True])
def test_what_numpy_saves_is_read_bit_for_bit(
    name: str, shape: tuple[int, ...], deflated: bool
) -> None:
    """Stored and deflated members, in the order of the operation's operands."""
    a, b = tensor_of(name, shape), tensor_of(name, shape, 1)
    body = npz_of({"1": b.numpy(), "0": a.numpy()}, deflated=deflated)
    found = operands(body, "broadcast")
    assert [bits_of(x) for x in found] == [bits_of(a), bits_of(b)]
    assert [(x.dtype, tuple(x.shape)) for x in found] == [(a.dtype, shape)] * 2


def test_column_major_order_is_read() -> None:
    """The tensor is a view with other strides."""
    array = np.asarray(np.arange(6.0).reshape(2, 3), order="F")
    (x,) = operands(npz_of({"x": array}))
    assert x.tolist() == array.tolist()


def test_a_large_member_is_inflated_in_steps() -> None:
    """Input and output are longer than a step."""
    array = np.random.default_rng(0).standard_normal(200_000)
    (x,) = operands(npz_of({"x": array}, deflated=True))
    assert bits_of(x) == array.tobytes()


def test_sizes_after_the_data_are_read() -> None:
    """A writer without seek stores the sizes after the data."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        pipe = Pipe()
        with zipfile.ZipFile(pipe, "w", method) as archive:
            archive.writestr("x.npy", FILE)
        assert operands(pipe.getvalue())[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("op", "members", "kind"),
    [
        ("norm", {"y.npy": FILE}, UnknownFieldError),
        ("norm", {}, MissingFieldError),
        ("matmul", {"a.npy": FILE}, MissingFieldError),
        ("norm", {"x.npy": FILE, "y.npy": FILE}, UnknownFieldError),
        ("norm", {"../x.npy": FILE}, UnknownFieldError),
        ("norm", {"/x.npy": FILE}, UnknownFieldError),
        ("norm", {"x": FILE}, MalformedBodyError),
        ("norm", {"x.txt": FILE}, MalformedBodyError),
        ("norm", {"x.npy": b""}, MalformedBodyError),
        ("norm", {"x.npy": FILE[:-1]}, MalformedBodyError),
        ("broadcast", {"0.npy": FILE, "2.npy": FILE}, MissingFieldError),
        ("broadcast", {f"{i}.npy": FILE for i in range(65)}, LimitExceededError),
        ("norm", {f"{i}.npy": FILE for i in range(5000)}, LimitExceededError),
    ],
)
def test_the_names_are_those_of_the_operands(
    op: str, members: dict[str, bytes], kind: type[ServiceError]
) -> None:
    """Every operand and no other; a path is a name like any other, and no file is written."""
    with pytest.raises(kind):
        operands(zip_of(members), op)


def test_pickled_objects_are_refused() -> None:
    """The pickle is not parsed."""
    file = io.BytesIO()
    np.savez(file, x=np.array([{}], dtype=object))
    with pytest.raises(UnknownDtypeError, match=r"'\|O'"):
        operands(file.getvalue())


def test_a_duplicate_name_is_refused() -> None:
    """Two entries of the directory have one name."""
    with pytest.raises(DuplicateKeyError):
        operands(zipped(NAME, FILE, times=2, count=2))


INCONSISTENT = {
    "empty": (b"", "0 bytes"),
    "short": (b"PK\5\6" + b"\0" * 17, "21 bytes"),
    "no archive": (b"x" * 100, "end with its directory"),
    "a byte after it": (zip_of({"x.npy": FILE}) + b"\0", "end with its directory"),
    "a comment": (zipped(NAME, FILE, end=struct.pack("<4s4H2IH", b"PK\5\6", *(0,) * 4, 0, 0, 1)),
                  "comment"),
    "a byte before it": (b"\0" + zip_of({"x.npy": FILE}), "directory is not where"),
    "another disk": (zipped(NAME, FILE, end=struct.pack("<4s4H2IH", b"PK\5\6", 1, *(0,) * 6)),
                     "directory is not where"),
    "zip64": (zipped(NAME, FILE, end=struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *(65535,) * 2,
                                                 2**32 - 1, 2**32 - 1, 0)), "not where"),
    "fewer entries": (zipped(NAME, FILE, count=2), "within an entry"),
    "more entries": (zipped(NAME, FILE, count=0), "51 bytes more"),
    "a gap": (zipped(NAME, FILE, gap=b"\0" * 3), "3 bytes more"),
    "a gap as an entry": (zipped(NAME, FILE, gap=b"\0" * 60, count=2), "something else"),
    "no entry": (zipped(NAME, FILE, signature=b"PK\1\3"), "something else"),
    "newer": (
        zipped(NAME, FILE).replace(b"PK\1\2\x14\0\x14\0", b"PK\1\2\x14\0\x2e\0"),
        "version 46",
    ),
    "encrypted": (zipped(NAME, FILE, flags=1), "encrypted"),
    "masked": (zipped(NAME, FILE, flags=0x2000), "flagged"),
    "bzip2": (zipped(NAME, FILE, method=12), "method 12"),
    "deflate64": (zipped(NAME, FILE, method=9), "method 9"),
    "large": (zipped(NAME, FILE, packed=2**32 - 1, size=2**32 - 1), "4 GB"),
    "far": (zipped(NAME, FILE, offset=2**32 - 1), "4 GB"),
    "elsewhere": (zipped(NAME, FILE, disk=1), "elsewhere"),
    "stored and smaller": (zipped(NAME, FILE, packed=len(FILE) - 1), "differ"),
    "beyond": (zipped(NAME, FILE, offset=10_000), "not where"),
    "between": (zipped(NAME, FILE, offset=1), "not where"),
    "another name": (zipped(NAME, FILE, local=b"y.npy"), "not where"),
    "too long": (zipped(NAME, FILE, packed=1000, size=1000), "not where"),
    "checksum": (zipped(NAME, FILE, checksum=1), "checksum"),
    "not deflated": (zipped(NAME, b"\7" + FILE, method=8, size=len(FILE)), "not deflated"),
    "cut": (zipped(NAME, deflate(FILE)[:-4], method=8, size=len(FILE)), "ends after"),
    "left over": (zipped(NAME, deflate(FILE) + b"\0", method=8, size=len(FILE)), "1 bytes are"),
    "longer": (zipped(NAME, deflate(FILE), method=8, size=len(FILE) - 1), "does not inflate"),
    "shorter": (zipped(NAME, deflate(FILE), method=8, size=len(FILE) + 1), "does not inflate"),
    "wrong sum": (zipped(NAME, deflate(FILE), method=8, size=len(FILE)), "checksum"),
}  # fmt: skip


@pytest.mark.parametrize("case", INCONSISTENT)
def test_an_inconsistent_archive_is_refused(case: str) -> None:
    """The error has the reason."""
    body, why = INCONSISTENT[case]
    with pytest.raises(MalformedBodyError) as caught:
        operands(body)
    assert why in caught.value.detail


def test_members_that_overlap_are_refused() -> None:
    """Two entries over the same bytes would multiply a decompression bomb."""
    inner = zipped(b"b.npy", FILE)
    local = inner[: 30 + 5 + len(FILE)]
    outer = zipped(b"a.npy", local)
    entries = outer[30 + 5 + len(local) : -22] + inner[len(local) : -22]
    start = 30 + 5 + len(local)
    moved = bytearray(entries)
    moved[-9:-5] = struct.pack("<I", 35)  # where the inner header begins
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(moved), start, 0)
    body = outer[:start] + bytes(moved) + end
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.namelist() == ["a.npy", "b.npy"]
    with pytest.raises(MalformedBodyError, match="overlap"):
        operands(body, "matmul")


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    """The sum of the stated sizes is checked first."""
    body = npz_of({"x": np.zeros(2**24)}, deflated=True)
    context = DecodeContext(
        max_elements=2**24, dtype=parse_dtype("float32"), max_deadline_ms=1000, max_body_bytes=2**20
    )
    assert len(body) < 2**20
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError, match="134217856"):
        CODEC.decode(bytearray(body), REGISTRY["norm"], context)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_bomb_is_not_inflated_beyond_its_stated_size() -> None:
    """Memory stays near the stated size."""
    body = bytearray(zipped(NAME, deflate(b"\0" * 2**26), method=8, size=1000))
    tracemalloc.start()
    with pytest.raises(MalformedBodyError, match="does not inflate"):
        CODEC.decode(body, REGISTRY["norm"], CONTEXT)
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.binary()),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_the_directory_is_read_as_zipfile_reads_it(members: dict[str, bytes], method: int) -> None:
    """Names, methods, checksums and sizes are equal."""
    members = {name: data for name, data in members.items() if "\0" not in name}
    body = zip_of(members, method=method)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        expected = [
            (each.filename, each.compress_type, each.CRC, each.compress_size, each.file_size)
            for each in archive.infolist()
        ]
    found = [
        (each.name, each.method, each.checksum, each.packed, each.size)
        for each in read_members(body, most=1000)
    ]
    assert found == expected


@given(st.binary(max_size=200), st.integers(0, 199))
def test_random_bytes_are_refused_or_read(noise: bytes, position: int) -> None:
    """Errors are those of the service, whatever the bytes."""
    good = npz_of({"x": np.ones(2)})
    for body in (noise, good[:position] + noise, good[:-22] + noise[:22].ljust(22, b"\0")):
        with suppress(ServiceError):
            operands(body)


@given(st.integers(0), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_harmless(position: int, value: int) -> None:
    """No other exception than an error of the service is raised."""
    body = bytearray(npz_of({"x": np.arange(9.0)}, deflated=True))
    body[position % len(body)] = value
    with suppress(ServiceError):
        operands(bytes(body))


@pytest.mark.parametrize(
    ("op", "pointer", "hint"),
    [
        pytest.param("matmul", "/arr_0", "numpy.savez(file, a=..., b=...)", id="two operands"),
        pytest.param("norm", "/arr_0", "numpy.savez(file, x=...)", id="one operand"),
        pytest.param(
            "broadcast", "/operands/arr_0", 'numpy.savez(file, **{"0": x, "1": y})', id="a list"
        ),
    ],
)
def test_arrays_without_names(op: str, pointer: str, hint: str) -> None:
    """numpy.savez(file, x) names an array arr_0; the hint has the call that names it."""
    file = io.BytesIO()
    np.savez(file, np.ones(2))
    with pytest.raises(UnknownFieldError, match="as numpy") as caught:
        operands(file.getvalue(), op)
    assert caught.value.places[0].pointer == pointer
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)
