"""HTTP responses in their final bytes."""

from service.core.response import HttpResponse, header_lines


def test_a_response_states_type_and_length() -> None:
    """Both come before other headers; the length is that of all chunks, which stay as they are."""
    chunks = (b"some", memoryview(b"thing"))
    response = HttpResponse.of("text/plain", chunks, b"x-request-id: mine\r\n", status=503)
    assert (response.status, response.chunks, response.length) == (503, chunks, 9)
    assert response.lines == header_lines(response.headers)
    assert response.headers == (
        (b"content-type", b"text/plain"),
        (b"content-length", b"9"),
        (b"x-request-id", b"mine"),
    )


def test_a_response_without_more_headers() -> None:
    """It is a success, and may be empty."""
    response = HttpResponse.of("text/plain", ())
    assert response.status == 200
    assert dict(response.headers) == {b"content-type": b"text/plain", b"content-length": b"0"}
