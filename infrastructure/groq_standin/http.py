"""HTTP/1.1 as bytes: a request that was read, heads of answers, chunks of a body."""

import time
from base64 import b32encode
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from secrets import token_bytes

Headers = dict[str, str | None]
"""Names are lower case; `None` takes a header away."""

LAST_CHUNK = b"0\r\n\r\n"

_PHRASES = {known.value: known.phrase for known in HTTPStatus}

_CROCKFORD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz"
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. The body is empty when `size` was more than we take."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    size: int

    def header(self, name: bytes) -> str | None:
        for key, value in self.headers:
            if key.lower() == name:
                return value.decode("latin-1")
        return None


def request_id() -> str:
    """Shaped like Groq's: `req_01` and 24 characters of Crockford's base 32."""
    return "req_01" + b32encode(token_bytes(15)).translate(_CROCKFORD).decode()


def head(status: int, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", _date(int(time.time()))]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def sized(status: int, headers: Headers, body: bytes) -> bytes:
    """An answer with its length known."""
    return head(status, {**headers, "content-length": str(len(body))}) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _phrase(status: int) -> str:
    return _PHRASES.get(status, "Unknown")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return time.strftime("date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
