"""npz requests: a zip archive with one npy file for each operand, as numpy.savez writes it.

The directory of the archive is parsed here, because the module zipfile needs a file, which would
copy the body, and accepts bytes before an archive and members that overlap. All that numpy.savez
never writes is refused: encryption, sizes of 4 GB and more, comments, and methods other than
stored and deflated.
"""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Any, Final, NoReturn

from service.codecs.base import NO_FIELDS, UNBOUNDED_BYTES, Body, Buffer, DecodeContext, WholeReader
from service.codecs.binary.npy import read_slice
from service.codecs.binary.slices import TensorSlice, call_from_slices, pointer_of
from service.codecs.compression import DEFLATE_WBITS, zlib_pieces
from service.codecs.media_types import NPZ
from service.codecs.request import MAX_OPERANDS
from service.core.call import Call
from service.errors import (
    BodyTooLargeError,
    DuplicateKeyError,
    LimitExceededError,
    MalformedBodyError,
    Place,
    UnknownFieldError,
    counted,
    quote,
)
from service.registry import Op

# End of the directory: signature, disk, disk of the directory, entries on this disk, entries,
# size and offset of the directory, length of the comment.
END: Final = Struct("<4s4H2IH")
# Entry of the directory: signature, two versions, flags, method, time, date, checksum, packed size,
# size, lengths of name, extra field and comment, disk, attributes, offset of the local header.
ENTRY: Final = Struct("<4s6H3I5H2I")
# Local header: signature, version, flags, method, time, date, checksum, packed size, size,
# lengths of name and extra field.
LOCAL: Final = Struct("<4s5H3I2H")
STORED: Final = 0
DEFLATED: Final = 8
# Hints for deflate, sizes after the data (the directory has them, too), names in UTF-8.
FLAGS: Final = 0x080E
MAX_VERSION: Final = 45  # 4.5, which numpy writes; it introduced sizes of 64 bits
ZIP64: Final = 0xFFFFFFFF  # in place of a size that stands in a zip64 record
SUFFIX: Final = ".npy"
POSITION: Final = re.compile(r"arr_\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file of the archive: `packed` bytes from `start` on, `size` bytes inflated."""

    name: str
    method: int
    checksum: int
    start: int
    packed: int
    size: int


def read_members(body: Body, *, most: int) -> list[ArchiveMember]:
    """Return the members in the order of the directory, at most `most`. Nothing is inflated."""
    end = len(body) - END.size
    if end < 0:
        _refuse(f"it has {len(body)} bytes, and the end of its directory alone has {END.size}")
    signature, disk, first, here, count, size, offset, comment = END.unpack_from(body, end)
    if signature != b"PK\5\6" or comment:
        _refuse("it does not end with its directory, without a comment")
    if disk or first or here != count or offset + size != end:
        _refuse("its directory is not where its end says, or continues in another file")
    if count > most:
        raise LimitExceededError(f"the archive has {count} members; the limit is {most}")
    members: list[ArchiveMember] = []
    taken = []
    position = offset
    for _ in range(count):
        member, begin, position = _read_entry(body, position, end, offset)
        if any(member.name == each.name for each in members):
            raise DuplicateKeyError(
                f"the archive has {quote(member.name)} twice", hint="send it once"
            )
        members.append(member)
        taken.append((begin, member.start + member.packed))
    if position != end:
        _refuse(
            f"its directory has {counted(end - position, 'byte')} more than its "
            f"{counted(count, 'entry', 'entries')}"
        )
    taken.sort()
    if any(last > begin for (_, last), (begin, _) in pairwise(taken)):
        _refuse("two of its members overlap")
    return members


def _read_entry(
    body: Body, position: int, end: int, directory: int
) -> tuple[ArchiveMember, int, int]:
    """Return a member, the offset of its local header, and that of the next entry."""
    if position + ENTRY.size > end:
        _refuse("its directory ends within an entry")
    fields = ENTRY.unpack_from(body, position)
    signature, _, needed, flags, method, _, _, checksum, packed, size, *rest = fields
    named, extra, comment, disk, _, _, offset = rest
    after = position + ENTRY.size
    if signature != b"PK\1\2" or after + named + extra + comment > end:
        _refuse("its directory ends within an entry, or has something else in place of one")
    raw = bytes(body[after : after + named])
    name = raw.decode("utf-8", "replace")
    if needed > MAX_VERSION:
        _refuse(
            f"{quote(name)} needs version {needed} of the format; {MAX_VERSION} and less are read"
        )
    if flags & ~FLAGS:
        _refuse(f"{quote(name)} is encrypted, or flagged as what is not read ({flags:#06x})")
    if method not in (STORED, DEFLATED):
        _refuse(f"{quote(name)} is compressed by method {method}; 0 and 8, deflate, are read")
    if ZIP64 in (packed, size, offset) or disk or (method == STORED and packed != size):
        _refuse(f"{quote(name)} has sizes that differ, or of 4 GB and more, or is elsewhere")
    start = _find_data(body, offset, directory, raw)
    if start is None or start + packed > directory:
        _refuse(f"{quote(name)} is not where the directory says")
    member = ArchiveMember(name, method, checksum, start, packed, size)
    return member, offset, after + named + extra + comment


def _find_data(body: Body, offset: int, directory: int, raw: bytes) -> int | None:
    """Return the offset of a member's data, or None if no local header of its name precedes it."""
    if offset + LOCAL.size > directory:
        return None
    signature, *_, named, extra = LOCAL.unpack_from(body, offset)
    begin = offset + LOCAL.size
    if signature != b"PK\3\4" or body[begin : begin + named] != raw:
        return None
    return int(begin + named + extra)


class NpzCodec(WholeReader):
    """application/x-npz, for requests alone."""

    media_type: Final = NPZ
    thread_bytes: Final = UNBOUNDED_BYTES  # zlib releases the GIL

    def try_decode(self, *_: object) -> Call | None:
        """Return None: a few bytes may inflate to all that is allowed."""
        return None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Decode the members of the archive, which are named as the operands."""
        members = read_members(body, most=MAX_OPERANDS)
        total = sum(member.size for member in members)
        if total > context.max_body_bytes:
            raise BodyTooLargeError(
                f"the body may have {context.max_body_bytes} bytes (SERVICE_MAX_BODY_BYTES), and "
                f"its members inflate to {total}"
            )
        slices: dict[str, tuple[TensorSlice, Buffer]] = {}
        for member in members:
            name = member.name.removesuffix(SUFFIX)
            if name == member.name:
                raise MalformedBodyError(f"the member {quote(name)} is no npy file by its name")
            slices[name] = _read_member(body, member)
        _refuse_positions(slices, op)
        return call_from_slices(slices, op, context, query)


def _refuse_positions(names: Iterable[str], op: Op[Any]) -> None:
    """Raise UnknownFieldError for the names that numpy.savez gives to arrays without one."""
    unnamed = [name for name in names if POSITION.fullmatch(name)]
    if not unnamed:
        return
    named = (
        '**{"0": x, "1": y}'
        if op.operands is None
        else ", ".join(f"{name}=..." for name in op.operands)
    )
    raise UnknownFieldError(
        f"{op.name} has no operand {quote(unnamed[0])}, as numpy.savez names an array by itself",
        hint=f"numpy.savez(file, {named}) names them as the operation does",
        places=[Place(pointer_of(name, op), "unknown operand") for name in unnamed],
    )


def _read_member(body: Body, member: ArchiveMember) -> tuple[TensorSlice, Buffer]:
    """Return the tensor of a member, and its buffer: the body itself if it is not deflated."""
    packed = memoryview(body)[member.start : member.start + member.packed]
    file = packed if member.method == STORED else _inflate(packed, member)
    name = quote(member.name)
    if zlib.crc32(file) != member.checksum:
        raise MalformedBodyError(f"the checksum of {name} is not that of its bytes")
    return read_slice(file, f"the member {name}"), file


def _inflate(packed: memoryview, member: ArchiveMember) -> memoryview:
    """Return the bytes of a deflated member; their count has to be that in the directory."""
    inflated = memoryview(bytearray(member.size))
    name = quote(member.name)
    position = 0
    for piece in zlib_pieces(packed, DEFLATE_WBITS, f"the member {name} is not deflated"):
        end = position + len(piece)
        if end > member.size:
            break
        inflated[position:end] = piece
        position = end
    else:
        if position == member.size:
            return inflated
    raise MalformedBodyError(f"{name} does not inflate to {member.size} bytes")


def _refuse(why: str) -> NoReturn:
    raise MalformedBodyError(f"the body is no zip archive of npy files: {why}")
