"""Streams of different servers, decoded whole and byte by byte."""

import json

import pytest

from backend.domain.conversation import ToolCall
from backend.domain.errors import UpstreamError
from backend.llm.groq.wire import Decoder
from backend.llm.port import Finish, Text
from tests.dialects import DIALECTS, GARBLED, Dialect

Read = tuple[str, tuple[str, ...], str | None]


def read(dialect: Dialect, piece_bytes: int) -> Read:
    """Return the text, the arguments of the calls, and the code of the error, if there is one."""
    decoder, texts, calls = Decoder(), list[str](), list[str]()
    body = dialect.body
    try:
        for start in range(0, len(body), piece_bytes):
            texts.append(decoder.feed(body[start : start + piece_bytes]))
            if decoder.failure is not None:
                raise decoder.failure
        for delta in decoder.end():
            match delta:
                case Text(text):
                    texts.append(text)
                case ToolCall():
                    assert delta.name == "get_weather"
                    calls.append(json.dumps(json.loads(delta.arguments), separators=(",", ":")))
                case Finish(usage=usage):
                    tokens = (usage.input_tokens, usage.output_tokens)
                    assert dialect.tokens in (None, tokens)
    except UpstreamError as error:
        return "".join(texts), tuple(calls), error.code
    # The decoder accepts an empty answer, because the turn handles it.
    code = None if any(texts) or calls else GARBLED
    return "".join(texts), tuple(calls), code


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_body_means_the_same_whole_and_in_pieces(dialect: Dialect) -> None:
    sizes = (len(dialect.body) or 1, 1) if len(dialect.body) < 50_000 else (len(dialect.body), 999)

    found = {read(dialect, size) for size in sizes}

    assert found == {(dialect.text, dialect.calls, dialect.code)}
