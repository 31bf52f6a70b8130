"""Media types of the formats, and the codecs registered for them."""

from service.codecs import READERS, WRITERS, media_types


def test_codecs_are_found_by_media_type() -> None:
    """Each codec is registered under its own media type."""
    for table in (READERS, WRITERS):
        assert table["application/json"].media_type == "application/json"
        assert {name: codec.media_type for name, codec in table.items()} == {
            name: name for name in table
        }


def test_formats_of_requests_and_responses() -> None:
    """npz is read alone, bare bytes are written alone."""
    both = [media_types.JSON, media_types.SAFETENSORS]
    assert list(READERS) == [*both, media_types.NPZ, media_types.NPY]
    assert list(WRITERS) == [*both, media_types.NPY, media_types.BYTES]
