"""Hosts, transfer codings and targets of requests: what is refused, on either way in."""

import pytest

from service.errors import ServiceError
from service.http.errors import (
    HttpVersionError,
    MalformedRequestError,
    UnsupportedTransferCodingError,
)
from service.server.head_checks import check_head, with_path
from tests.rigs.connections import BODY, CHUNKED, get, post, product
from tests.rigs.laboratory import Lab

HOSTS = [
    b"lab", b"lab:80", b"lab:", b"127.0.0.1:8000", b"[::1]", b"[::1]:8000", b"[fe80::1%25eth0]:80",
    b"tensor_service", b"xn--bcher-kva.example", b"a.b-c.example.", b" lab\t", b"LAB", b"%41",
]  # fmt: skip
NO_HOSTS = [
    b"", b" ", b"lab lab", b"lab/", b"lab:http", b"lab:80:80", b"::1", b"[::1", b"user@lab",
    b"http://lab", b"lab\x00", b"b\xc3\xbccher.example", b"lab?", b"lab#", b":80",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_host(host: bytes) -> None:
    """A name or an address, with a port or without."""
    check_head("1.1", [(b"accept", b"x"), (b"host", host)])
    check_head("1.0", [(b"host", host)])


@pytest.mark.parametrize("host", NO_HOSTS)
def test_no_host(host: bytes) -> None:
    """Anything else is refused and quoted, in HTTP/1.0 as well."""
    for version in ("1.0", "1.1"):
        with pytest.raises(MalformedRequestError, match="is not a name or an address") as caught:
            check_head(version, [(b"host", host)])
        assert repr(host.decode("latin-1")) in caught.value.detail


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_how_many_hosts(version: str) -> None:
    """One; before HTTP/1.1 there may be none."""
    with pytest.raises(MalformedRequestError, match="has 2 Host headers; send one"):
        check_head(version, [(b"host", b"lab"), (b"host", b"lab")])
    if version < "1.1":
        check_head(version, [])
    else:
        with pytest.raises(MalformedRequestError, match="has 0 Host headers; send one"):
            check_head(version, [])


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0"])
def test_other_major_versions(version: str) -> None:
    """They are refused, whatever else the head has."""
    with pytest.raises(HttpVersionError, match=f"HTTP/{version} is not spoken here; HTTP/1.1 is"):
        check_head(version, [])


@pytest.mark.parametrize(
    ("codings", "error"),
    [
        ([b"chunked"], None),
        ([b" Chunked "], None),
        ([b",chunked,"], None),
        ([b"gzip, chunked"], UnsupportedTransferCodingError),
        ([b"gzip", b"chunked"], UnsupportedTransferCodingError),
        ([b"identity, chunked"], UnsupportedTransferCodingError),
        ([b"gzip"], MalformedRequestError),
        ([b"chunked", b"gzip"], MalformedRequestError),
        ([b"chunked, chunked"], MalformedRequestError),
        ([b"chunked;a=b"], MalformedRequestError),
        ([b"identity"], MalformedRequestError),
        ([b""], MalformedRequestError),
        ([b","], MalformedRequestError),
        ([b"\xff"], MalformedRequestError),
    ],
)
def test_transfer_codings(codings: list[bytes], error: type[ServiceError] | None) -> None:
    """Chunks alone are read. Without them at the end, the body has no clear end."""
    headers = [(b"host", b"lab"), *((b"transfer-encoding", each) for each in codings)]
    if error is None:
        check_head("1.1", headers)
    else:
        with pytest.raises(error, match="Transfer-Encoding"):
            check_head("1.1", headers)


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (b"http://lab", b"/"),
        (b"http://lab:80?x=1", b"/?x=1"),
        (b"http://lab/matmul?x=1", b"http://lab/matmul?x=1"),
        (b"*", b"*"),
    ],
)
def test_the_form_of_a_target(target: bytes, form: bytes) -> None:
    """The path of an address without one is `/`; other targets have a path already."""
    assert with_path(target) == form


REFUSED = {
    "no host": (post(host=""), 400),
    "an empty host": (post(host=" "), 400),
    "a host twice": (post(Host="lab"), 400),
    "no host, not fast": (get("/health/live").replace(b"host: lab\r\n", b""), 400),
    "no host at an address": (post(path="http://lab/matmul", host=""), 400),
    "a coding": (post(CHUNKED, content_length="", transfer_encoding="gzip, chunked"), 501),
    "a coding alone": (post(content_length="", transfer_encoding="gzip"), 400),
    "an upgrade": (post(host="", connection="upgrade", upgrade="h2c"), 400),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("before", [b"", post(), get("/health/live")], ids=["", "fast", "not fast"])
async def test_a_refused_head_ends_its_connection(lab: Lab, name: str, before: bytes) -> None:
    """No call is made, and what follows is not read. Requests before it are answered."""
    text, status = REFUSED[name]
    transport, found = await lab.exchange(before, text + post())
    *earlier, answer = found
    assert [each.status_code for each in earlier] == [200] * bool(before)
    assert (answer.status_code, answer.headers["connection"]) == (status, "close")
    code = "malformed-request" if status == 400 else "unsupported-transfer-coding"
    assert answer.json()["code"] == code
    assert transport.has_ended


async def test_a_cached_head_has_been_checked(lab: Lab) -> None:
    """Another host is another head."""
    _, found = await lab.exchange(post(), post(), post(host="other"), post(host=""))
    assert [each.status_code for each in found] == [200, 200, 200, 400]


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_an_address_without_a_path(whole: Lab, method: str) -> None:
    """It is that of the first page."""
    _, found = await whole.exchange(get("/", method), get("http://lab", method))
    assert [each.status_code for each in found] == [204 if method == "OPTIONS" else 200] * 2


async def test_options_of_the_server(whole: Lab) -> None:
    """The methods of all routes; to other methods the target is a path that does not exist."""
    _, found = await whole.exchange(get("*", "OPTIONS"), get("*"), get("/*", "OPTIONS"))
    assert [each.status_code for each in found] == [204, 404, 404]
    routes = (await whole.exchange(get("/openapi.json")))[1][0].json()["paths"].values()
    served = {method.upper() for route in routes for method in route}
    assert found[0].headers["Allow"].split(", ") == sorted({*served, "HEAD", "OPTIONS"})


async def test_http_1_0_needs_no_host(lab: Lab) -> None:
    """Health checks of load balancers have none."""
    _, (answer,) = await lab.exchange(post(BODY, version="1.0", host=""))
    assert product(answer) == [[19.0, 22.0], [43.0, 50.0]]
