"""Request heads that are ambiguous about the end of the body or about the host."""

import pytest

from backend.server.request_heads import fault_of

HOST = (b"host", b"lex")
BAD, UNKNOWN, VERSION = 400, 501, 505


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        ([], None),
        ([b"chunked"], None),
        ([b"Chunked"], None),
        ([b" \tchunked "], None),
        # An unknown coding, but the end of the body is known.
        ([b"gzip, chunked"], UNKNOWN),
        ([b"gzip", b"chunked"], UNKNOWN),
        ([b"gzip;level=1,chunked"], UNKNOWN),
        ([b"identity, chunked"], UNKNOWN),
        ([b"deflate, gzip, chunked"], UNKNOWN),
        # The end of the body is unknown.
        ([b"gzip"], BAD),
        ([b"identity"], BAD),
        ([b"xchunked"], BAD),
        ([b'"chunked"'], BAD),
        ([b"chunked;a=b"], BAD),
        ([b"chunked, gzip"], BAD),
        ([b"chunked", b"identity"], BAD),
        # `chunked` twice, or an empty element.
        ([b"chunked, chunked"], BAD),
        ([b"chunked", b"chunked"], BAD),
        ([b"gzip, chunked, chunked"], BAD),
        ([b""], BAD),
        ([b", chunked"], BAD),
        ([b"chunked,"], BAD),
    ],
)
def test_chunked_is_the_one_coding_of_a_transfer(codings: list[bytes], status: int | None) -> None:
    headers = [HOST, *((b"transfer-encoding", coding) for coding in codings)]

    assert fault_of(b"POST", "1.1", headers) == status


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity"])
def test_http_1_0_knows_no_transfer_codings(coding: bytes) -> None:
    assert fault_of(b"POST", "1.0", [(b"transfer-encoding", coding)]) == BAD


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        ("1.1", [HOST], None),
        ("1.1", [], BAD),
        ("1.1", [HOST, HOST], BAD),
        ("1.0", [], None),
        ("1.0", [HOST], None),
        ("1.0", [HOST, HOST], BAD),
        ("0.9", [HOST], VERSION),
        ("2.0", [HOST], VERSION),
    ],
)
def test_a_request_names_one_host_and_a_version_that_is_spoken_here(
    version: str, headers: list[tuple[bytes, bytes]], status: int | None
) -> None:
    assert fault_of(b"GET", version, headers) == status


def test_a_tunnel_is_refused() -> None:
    assert fault_of(b"CONNECT", "1.1", [HOST]) == BAD
