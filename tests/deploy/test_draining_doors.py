"""A server that leaves ends the streams of every door in the form of its protocol."""

import asyncio
import signal
from pathlib import Path

from infrastructure.groq_standin import Standin
from tests.deploy.servers import PLAIN, Deployed, count_for, deployed
from tests.doors import AG_UI, AI_SDK, DOORS, OPENAI, Door

LAST_FRAMES = {
    AI_SDK.name: ['"finish-step"', '"errorText":', '"finishReason":"interrupted"', "[DONE]"],
    AG_UI.name: ['"TEXT_MESSAGE_END"', '"RUN_ERROR"'],
    OPENAI.name: ['"error":', "[DONE]"],
}


async def test_a_turn_that_outlasts_the_drain_ends_with_an_error_of_its_protocol(
    standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 20)
    begun: list[str] = []
    async with deployed(PLAIN, standin, tmp_path, DRAIN_SECONDS="0.5") as service:
        streams = [asyncio.create_task(read(service, door, begun)) for door in DOORS]
        while len(begun) < len(DOORS):
            await asyncio.sleep(0.02)
        service.send(signal.SIGTERM)
        said = dict(zip((door.name for door in DOORS), await asyncio.gather(*streams), strict=True))
        code = await service.ended()

    for name, frames in LAST_FRAMES.items():
        places = [said[name].rfind(frame) for frame in frames]
        assert -1 not in places, (name, said[name][-600:])
        assert places == sorted(places), (name, said[name][-600:])
    assert code == 0


async def read(service: Deployed, door: Door, begun: list[str]) -> str:
    """Read a stream to its end. Its first text goes to `begun`."""
    body, headers = door.body(f"s-{door.name}", "Count"), door.headers(f"s-{door.name}")
    said, has_text = "", False
    async with service.client.stream("POST", door.path, json=body, headers=headers) as stream:
        async for text in stream.aiter_text():
            said += text
            if not has_text and any(mark in said for mark in ('delta":"', '"content":"')):
                has_text = True
                begun.append(door.name)
    return said
