"""JSON as Groq writes it: compact, and with the three characters escaped that Go escapes."""

from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    data = _encoder.encode(value)
    if b"<" in data or b">" in data or b"&" in data:
        # Outside of strings JSON has none of them.
        data = data.replace(b"<", rb"\u003c").replace(b">", rb"\u003e").replace(b"&", rb"\u0026")
    return data
