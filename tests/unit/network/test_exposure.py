"""Who can reach an address."""

import pytest

from backend.network.exposure import Exposure, exposure_of, is_loopback


@pytest.mark.parametrize(
    ("addresses", "exposure"),
    [
        ([("127.0.0.1", 8000)], Exposure.LOOPBACK),
        ([("127.8.9.1", 8000)], Exposure.LOOPBACK),
        ([("::1", 8000, 0, 0)], Exposure.LOOPBACK),
        ([("[::1]", 8000)], Exposure.LOOPBACK),
        ([("::ffff:127.0.0.1", 8000)], Exposure.LOOPBACK),
        ([("localhost", 8000)], Exposure.LOOPBACK),
        ([("LOCALHOST.", 8000)], Exposure.LOOPBACK),
        ([("127.0.0.1", 8000), ("127.0.0.1", 9464)], Exposure.LOOPBACK),
        ([("0.0.0.0", 8000)], Exposure.PUBLIC),  # noqa: S104 - no socket is opened
        ([("::", 8000)], Exposure.PUBLIC),
        ([("", 8000)], Exposure.PUBLIC),
        ([("0", 8000)], Exposure.PUBLIC),
        ([("::ffff:10.0.0.1", 8000)], Exposure.PUBLIC),
        ([("192.168.1.5", 8000)], Exposure.PUBLIC),
        ([("fe80::1%eth0", 8000)], Exposure.PUBLIC),
        ([("127.0.0.1", 8000), ("10.0.0.1", 9464)], Exposure.PUBLIC),
        (["/run/lex.sock"], Exposure.SOCKET),
        ([b"\0abstract"], Exposure.SOCKET),
        (["/run/lex.sock", ("127.0.0.1", 9464)], Exposure.LOOPBACK),
        (["/run/lex.sock", ("10.0.0.1", 9464)], Exposure.PUBLIC),
        ([], Exposure.UNKNOWN),
    ],
    ids=str,
)
def test_addresses_are_public_if_one_of_them_is(
    addresses: list[object], exposure: Exposure
) -> None:
    assert exposure_of(addresses) is exposure


def test_127_1_is_loopback_however_it_is_written() -> None:
    assert is_loopback("127.1")
