"""The frames of one completion's stream, byte for byte as Groq writes them.

What all chunks of a completion share is encoded once; a token is then one formatting of bytes.
"""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from infrastructure.groq_standin.encoding import encode

FINGERPRINT = "fp_57a9d1e0c4"
DONE = b"data: [DONE]\n\n"


def completion_id() -> str:
    return f"chatcmpl-{uuid4()}"


def call_id(*, is_gpt_oss: bool) -> str:
    """`fc_<uuid>`, or nine lower-case alphanumerics."""
    return f"fc_{uuid4()}" if is_gpt_oss else uuid4().hex[:9]


class Wire:
    """Makes the frames of one completion, without their HTTP chunks."""

    def __init__(
        self, *, completion_id: str, created: int, model: str, request_id: str, seed: int
    ) -> None:
        start = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        start["system_fingerprint"] = FINGERPRINT
        self._start = b"data: " + encode(start)[:-1] + b","
        self._delta = self._start + b'"choices":[{"index":0,"delta":'
        self._request_id = request_id
        self._seed = seed

    def first(self, *, has_text: bool) -> bytes:
        content = "" if has_text else None
        x_groq = {"id": self._request_id, "seed": self._seed}
        return self._chunk({"role": "assistant", "content": content}, x_groq=x_groq)

    def texts(self, encoded: Iterable[bytes]) -> Iterator[bytes]:
        return self._tokens(encoded, b'{"content":', b"}")

    def reasoning(self, encoded: Iterable[bytes], *, is_gpt_oss: bool) -> Iterator[bytes]:
        end = b',"channel":"analysis"}' if is_gpt_oss else b"}"
        return self._tokens(encoded, b'{"reasoning":', end)

    def tool_call(self, index: int, call: dict[str, Any]) -> bytes:
        return self._chunk({"tool_calls": [{**call, "index": index}]})

    def finish(self, reason: str, usage: dict[str, Any], *, error: str | None) -> bytes:
        x_groq: dict[str, Any] = {"id": self._request_id}
        if error is not None:
            x_groq["error"] = error
        x_groq["usage"] = usage
        return self._chunk({}, reason=reason, x_groq=x_groq, usage=usage)

    def stopped(self, error: str) -> bytes:
        return self._chunk({}, x_groq={"id": self._request_id, "error": error})

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self.without_choices(b',"usage":' + encode(usage))

    def without_choices(self, more: bytes = b"") -> bytes:
        return self._start + b'"choices":[]' + more + b"}\n\n"

    def _tokens(self, encoded: Iterable[bytes], opening: bytes, closing: bytes) -> Iterator[bytes]:
        before = self._delta + opening
        after = closing + b',"logprobs":null,"finish_reason":null}]}\n\n'
        for token in encoded:
            yield b"%b%b%b" % (before, token, after)

    def _chunk(
        self, delta: dict[str, Any], *, reason: str | None = None, **more: dict[str, Any]
    ) -> bytes:
        rest = b"".join(b',"%b":%b' % (name.encode(), encode(more[name])) for name in more)
        return b'%b%b,"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._delta, encode(delta), encode(reason), rest,
        )  # fmt: skip


def error_event(error: Any) -> bytes:
    return b"event: error\ndata: " + encode({"error": error}) + b"\n\n"
