"""Parsing of `Host` headers, and the patterns of `ALLOWED_HOSTS`."""

import pytest

from backend.network.host_names import Host, HostPattern


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Lex.Example.com", Host("lex.example.com")),
        ("lex.example.com.", Host("lex.example.com")),
        ("lex.example.com:8000", Host("lex.example.com", 8000)),
        ("lex.example.com.:8000", Host("lex.example.com", 8000)),
        ("lex:", Host("lex")),
        ("[::1]", Host("::1")),
        ("[0:0:0:0:0:0:0:1]:80", Host("::1", 80)),
        ("[::FFFF:127.0.0.1]", Host("127.0.0.1")),
        ("127.0.0.1:8000", Host("127.0.0.1", 8000)),
        ("bücher.example", Host("xn--bcher-kva.example")),
        ("under_score.example", Host("under_score.example")),
        *((text, None) for text in ("", " ", "a b", "a/b", "user@host", "host:port", "a,b")),
        *((text, None) for text in ("host:80:80", "[::1", "::1", "a..b", ".a", "a..", "-a")),
        *((text, None) for text in ("host:99999", "host\\evil", "host#x", "[zz]", "*")),
    ],
    ids=str,
)
def test_a_host_is_read_in_one_spelling_or_not_at_all(text: str, host: Host | None) -> None:
    assert Host.read(text) == host


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        *((text, True) for text in ("localhost", "LOCALHOST.:80", "a.localhost", "127.0.0.1:8000")),
        *((text, True) for text in ("[::1]:8000", "127.9.9.9", "[::ffff:127.0.0.1]")),
        *((text, False) for text in ("evil.example", "localhost.evil.example", "8.8.8.8")),
        *((text, False) for text in ("127.0.0.1.evil.example", "notlocalhost", "[::]", "10.0.0.1")),
    ],
    ids=str,
)
def test_names_of_this_machine_are_known(text: str, is_loopback: bool) -> None:
    host = Host.read(text)

    assert host is not None
    assert host.is_loopback is is_loopback


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("lex.example.com", ["lex.example.com", "LEX.example.com.:8000"], ["example.com", "a.b"]),
        ("*.example.com", ["a.example.com", "a.b.example.com:1"], ["example.com", "aexample.com"]),
        ("lex.example.com:8000", ["lex.example.com:8000"], ["lex.example.com", "a.example.com:80"]),
        ("lex.example.com:80", ["lex.example.com", "lex.example.com:80"], ["lex.example.com:81"]),
        ("::1", ["[::1]", "[0::1]:8000"], ["[::2]", "127.0.0.1"]),
        ("[::1]:8000", ["[::1]:8000"], ["[::1]"]),
        ("10.0.0.1", ["10.0.0.1:8000"], ["10.0.0.10"]),
        ("*", ["anything", "[::1]"], []),
    ],
)
def test_a_pattern_fits_its_hosts_alone(
    pattern: str, fitting: list[str], others: list[str]
) -> None:
    read = HostPattern.read(pattern)

    hosts = {text: Host.read(text) for text in (*fitting, *others)}
    fits = [text for text, host in hosts.items() if host and read.fits(host, default_port=80)]
    assert fits == fitting


@pytest.mark.parametrize(
    "text",
    ["https://a.example", "a.*.example", "*a.example", "a b", "*.10.0.0.1", "**", "a:port", "/"],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        HostPattern.read(text)
