"""Formats of bodies: bytes to a Call, an Outcome to bytes. No HTTP and no web framework.

Shared by all formats:

    base            protocols Reader and Writer, limits of decoding
    media_types     names of the formats
    request         checked fields and operands to a Call
    query           fields of a URL
    output_field    the field `output`
    json_pointer    pointers to parts of a request, for errors
    stored_arrays   operands and results in files of the server
    tensor_bytes    tensors to bytes and back
    envelope        fields of a response beside its result
    arriving_text   text that is read while it arrives
    compression     content codings around any format; zstd: its import

json/, in the order in which a body passes through it:

    codec           the format
    plain           plain requests in one pass
    document        text to fields, strictly
    operands        one operand: array, object, base64 or name
    nested          nested lists to a shape and a flat list
    elements        elements to a tensor, strictly
    numbers         conversion of arrays of numbers
    rounding        rounding once, where the text of a number may have to decide
    negative_zeros  `-0` in text that orjson reads
    writer          tensors to text, and summaries

number_text/:

    text of numbers to arrays and back, by compiled code

binary/:

    safetensors, npy, npz, raw      the formats
    slices                          tensors inside a buffer, by operand name

inference/, the Open Inference Protocol, which has routes of its own:

    codec, request
"""

from typing import Final

from service.codecs.base import NO_FIELDS, Body, DecodeContext, Reader, Writer
from service.codecs.binary.npy import NpyCodec
from service.codecs.binary.npz import NpzCodec
from service.codecs.binary.raw import RawCodec
from service.codecs.binary.safetensors import SafetensorsCodec
from service.codecs.compression import CODINGS, InflatingReader, PackingWriter
from service.codecs.json.codec import JsonCodec

__all__ = [
    "CODINGS",
    "NO_FIELDS",
    "READERS",
    "WRITERS",
    "Body",
    "DecodeContext",
    "InflatingReader",
    "PackingWriter",
    "Reader",
    "Writer",
]

_JSON: Final = JsonCodec()
_SAFETENSORS: Final = SafetensorsCodec()
_NPY: Final = NpyCodec()

READERS: Final[dict[str, Reader]] = {
    codec.media_type: codec for codec in (_JSON, _SAFETENSORS, NpzCodec(), _NPY)
}
WRITERS: Final[dict[str, Writer]] = {
    codec.media_type: codec for codec in (_JSON, _SAFETENSORS, _NPY, RawCodec())
}
