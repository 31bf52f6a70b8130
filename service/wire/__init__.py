"""Formats of request bodies and answers: bytes to a Call, an Outcome to bytes. No HTTP in here."""

from typing import Final

from service.wire.codec import NO_FIELDS, Body, Chunks, Codec, Encoded, Reading
from service.wire.json import JsonCodec

__all__ = ["CODECS", "NO_FIELDS", "Body", "Chunks", "Codec", "Encoded", "Reading"]

CODECS: Final[dict[str, Codec]] = {codec.media_type: codec for codec in (JsonCodec(),)}
