"""How to ask each type of server, how to recognise its answer, and the scripts of answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Script = Mapping[str, Any]
"""A script for the stand-in: see its README."""


@dataclass(frozen=True)
class Dialect:
    """A request, and the bytes that start a chunk, end a stream or report a failure."""

    path: str
    chunk: bytes
    end: bytes
    failure: bytes

    def request(self, script: Script, session_id: str | None) -> bytes:
        query = f"[[script {json.dumps({'rounds': script['rounds']})}]]"
        body = json.dumps(self._body(query, session_id)).encode()
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:
        return {"query": query, **({"session_id": session_id} if session_id else {})}


class _GroqDialect(Dialect):
    def _body(self, query: str, session_id: str | None) -> dict[str, Any]:  # noqa: ARG002 - it knows none
        return {
            "model": "llama-3.3-70b-versatile",
            "messages": [{"role": "user", "content": query}],
            "stream": True,
        }


LEX = Dialect("/query", b"event: chunk\n", b"event: end\n", b"event: error\n")
GROQ = _GroqDialect("/openai/v1/chat/completions", b'{"content":"', b"[DONE]", b'"error"')
OPENAI = _GroqDialect("/chat/completions", b'"content":"', b"[DONE]", b'"error"')
"""For servers that re-encode the stream of Groq."""


def answers(tokens: int, *, tokens_per_second: float) -> Script:
    """The script of one answer."""
    return {"rounds": [{"tokens": tokens, "tokens_per_second": tokens_per_second}]}


def looks_up_then_answers(tokens: int, *, tokens_per_second: float) -> Script:
    """The same answer after one tool call."""
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    script = answers(tokens, tokens_per_second=tokens_per_second)
    return {
        "rounds": [{"calls": [call], "tokens_per_second": tokens_per_second}, *script["rounds"]]
    }
