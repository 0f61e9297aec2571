"""A worker whose event loop is blocked logs where, and none of the words that it works on."""

import time

from structlog.testing import capture_logs

from backend.tools.arguments import Arguments
from backend.tools.context import ToolContext
from backend.tools.registry import Output, tool
from tests.live.test_disconnect import script
from tests.serving import lex


class Words(Arguments):
    """Words of a person."""

    words: str


class Done(Output):
    done: bool = True


@tool()
async def block(arguments: Words, context: ToolContext) -> Done:  # noqa: ARG001 - the form of a tool
    """Hold up the event loop, as no tool may."""
    time.sleep(0.8)  # noqa: ASYNC251 - the fault
    return Done()


async def test_the_log_names_the_tool_that_blocks_the_event_loop() -> None:
    call = {"name": "block", "arguments": {"words": "my secret"}}
    async with lex(tools=(block,)) as service:
        with capture_logs() as lines:
            await service.ask(script({"calls": [call]}, {"text": "Done."}))

    (stands,) = [line for line in lines if line["event"] == "event_loop_stands"]
    assert stands["stack"].splitlines()[-1].split(" in ") == [f"{__file__}:27", "block"]
    assert "my secret" not in str(stands)
