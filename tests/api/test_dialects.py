"""Upstream bodies of many dialects: the service gives one good answer, or one clear error."""

import json
from typing import Any

import pytest

from tests.dialects import DIALECTS, Dialect
from tests.live.test_faults import assert_sound
from tests.serving import Lex, lex, text_of

SPLIT = (
    "CRLF",
    "a byte order mark",
    "a character in two frames",
    "an event of several lines",
    "two calls, woven",
    "usage of its own, and no end",
    "cut within the only call",
    "a broken frame",
)


async def replayed(service: Lex, dialect: Dialect, **how: Any) -> list[tuple[str, str]]:
    """Return the stream of a turn whose first completion has this body; the next says `Done.`."""
    raw = {"kind": "raw", "body": dialect.body, **how}
    service.standin.script({"fault": raw}, {"text": "Done."}, times=None)
    return await service.ask("Hello")


async def assert_as_promised(service: Lex, dialect: Dialect, events: list[tuple[str, str]]) -> None:
    names = [event for event, _ in events]
    errors = [json.loads(data)["code"] for event, data in events if event == "error"]
    assert errors == ([dialect.code] if dialect.code else [])
    assert names.count("end") == 1
    assert names[-1] == "end"
    assert text_of(events) == dialect.text + ("Done." if dialect.calls else "")
    called = [json.loads(data)["arguments"] for event, data in events if event == "tool_call"]
    assert called == [json.loads(arguments) for arguments in dialect.calls]
    assert names.count("tool_output") == len(called)
    await assert_sound(service, events)
    await service.standin.stats.until(lambda stats: stats.open_streams == 0)
    service.standin.forget_scripts()
    service.standin.script({"text": "Better."})
    assert text_of(await service.ask("And now?")) == "Better."


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_a_body_is_one_answer_or_one_error_and_the_session_goes_on(dialect: Dialect) -> None:
    async with lex(model_fallbacks="none", chunk_flush_ms=0) as service:
        events = await replayed(service, dialect)

        await assert_as_promised(service, dialect, events)


@pytest.mark.parametrize(
    "dialect", [each for each in DIALECTS if each.name in SPLIT], ids=lambda dialect: dialect.name
)
async def test_so_is_a_body_that_comes_byte_by_byte(dialect: Dialect) -> None:
    async with lex(model_fallbacks="none", chunk_flush_ms=0) as service:
        events = await replayed(service, dialect, piece_bytes=1, seconds=0.0005)

        await assert_as_promised(service, dialect, events)
