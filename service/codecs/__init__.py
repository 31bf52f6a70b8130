"""Formats of request bodies and answers: bytes to a Call, an Outcome to bytes. No HTTP in here.

codec       what a format offers
request     what all formats share: checked fields and operands to a Call; query: fields in a URL
tensors     a tensor's bytes, both ways; envelope: what an answer says beside its result
json        quick (plain requests) > document (strictness) > parsers (two engines) > operands >
            layout, elements, conversion (lists to tensors); results, summary (tensors to text)
safetensors, npy, npz, raw      with named, archive and the headers
inference, inference_request    the Open Inference Protocol, which has routes of its own
inflate, packing                content codings around any of them
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
