"""Which pages may use the cookie, by the headers that browsers send."""

import pytest
from starlette.requests import HTTPConnection

from backend.api.auth.origins import Origins

HOST = "lex.example"
PAGE = "https://shop.example"
origins = Origins([PAGE])


def asks(
    method: str = "GET", *headers: tuple[str, str], scheme: str = "http", host: str | None = HOST
) -> HTTPConnection:
    is_socket = scheme.startswith("ws")
    given = [*headers, *([("host", host)] if host is not None else [])]
    return HTTPConnection(
        {
            "type": "websocket" if is_socket else "http",
            "scheme": scheme,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given],
            **({} if is_socket else {"method": method}),
        }
    )


FOREIGN = [
    "https://evil.example",
    "null",
    "",
    "https://shop.example.evil.example",
    "https://evil.example/https://shop.example",
    "http://shop.example",
    "https://shop.example:444",
    "https://shop.example/",
    "https://SHOP.example",
    "https://lex.example.evil.example",
    "https://evil-lex.example",
    "https://lex.example:8443",
    "ftp://lex.example",
    "://lex.example",
    "https://lex.example, https://shop.example",
    "é",
]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("origin", [PAGE, f"https://{HOST}", f"http://{HOST}"])
def test_a_page_that_is_listed_and_our_own_may(method: str, origin: str) -> None:
    assert origins.may_use_cookie(asks(method, ("origin", origin)))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("origin", FOREIGN)
def test_any_other_page_may_not(method: str, origin: str) -> None:
    assert not origins.may_use_cookie(asks(method, ("origin", origin)))
    same = ("sec-fetch-site", "same-origin")
    assert not origins.may_use_cookie(asks(method, ("origin", origin), same))


def test_over_https_a_page_over_http_is_not_our_own() -> None:
    assert not origins.may_use_cookie(asks("POST", ("origin", f"http://{HOST}"), scheme="https"))
    assert origins.may_use_cookie(asks("POST", ("origin", f"https://{HOST}"), scheme="https"))


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_a_request_that_changes_something_needs_an_origin(method: str) -> None:
    same = ("sec-fetch-site", "same-origin")
    own = ("referer", f"http://{HOST}/")

    assert not origins.may_use_cookie(asks(method))
    assert not origins.may_use_cookie(asks(method, same, own))


@pytest.mark.parametrize(
    ("site", "may"),
    [("same-origin", True), ("same-site", False), ("cross-site", False), ("none", False)],
)
def test_where_a_browser_leaves_the_origin_out_it_says_where_a_get_comes_from(
    site: str, *, may: bool
) -> None:
    own = ("referer", f"http://{HOST}/")

    assert origins.may_use_cookie(asks("GET", ("sec-fetch-site", site))) is may
    assert origins.may_use_cookie(asks("GET", ("sec-fetch-site", site), own)) is may


def test_where_it_does_not_its_referer_does() -> None:
    assert origins.may_use_cookie(asks("GET", ("referer", f"http://{HOST}/chat?x=1")))
    assert origins.may_use_cookie(asks("GET", ("referer", PAGE)))
    assert not origins.may_use_cookie(asks("GET", ("referer", f"https://evil.example/{HOST}")))
    assert not origins.may_use_cookie(asks("GET", ("referer", f"http://{HOST}@evil.example/")))
    assert not origins.may_use_cookie(asks("GET", ("referer", "http://[")))
    assert not origins.may_use_cookie(asks("GET"))


def test_a_header_that_comes_twice_is_not_believed() -> None:
    twice = [("origin", PAGE)] * 2
    sites = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]

    assert not origins.may_use_cookie(asks("POST", *twice))
    assert not origins.may_use_cookie(asks("GET", *sites))


@pytest.mark.parametrize("host", [None, ""])
def test_without_a_host_no_origin_is_our_own(host: str | None) -> None:
    for origin in ("null", "http://", "https://", ""):
        assert not origins.may_use_cookie(asks("POST", ("origin", origin), host=host))


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_socket_of_another_origin_is_foreign(origin: str) -> None:
    assert origins.is_foreign_socket(asks("GET", ("origin", origin), scheme="ws"))
    assert not origins.may_use_cookie(asks("GET", ("origin", origin), scheme="ws"))


def test_a_socket_of_ours_or_of_no_page_is_not_foreign() -> None:
    for origin in (PAGE, f"http://{HOST}", f"https://{HOST}"):
        assert not origins.is_foreign_socket(asks("GET", ("origin", origin), scheme="ws"))
    assert not origins.is_foreign_socket(asks("GET", scheme="ws"))
    assert not origins.is_foreign_socket(asks("GET", ("origin", "https://evil.example")))


def test_a_socket_needs_an_origin_to_use_the_cookie() -> None:
    same = ("sec-fetch-site", "same-origin")

    assert not origins.may_use_cookie(asks("GET", same, scheme="ws"))
    assert origins.may_use_cookie(asks("GET", ("origin", PAGE), scheme="ws"))


def test_all_pages_may_where_all_are_listed() -> None:
    assert not Origins(["*"]).is_foreign_socket(
        asks("GET", ("origin", "https://any.example"), scheme="ws")
    )
