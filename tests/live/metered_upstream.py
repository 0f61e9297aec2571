"""An upstream that keeps a ledger of what it really read and wrote.

It counts tokens by a ratio of characters that differs from message to message, and tells nobody.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from backend.domain.usage import Usage

PIECE_CHARACTERS = 40


@dataclass
class Served:
    """One request that was accepted, and what it took."""

    usage: Usage


@dataclass
class MeteredUpstream:
    chance: random.Random
    served: list[Served] = field(default_factory=list)
    refused: int = 0
    url: str = ""
    ratios: dict[str, float] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def serve(cls, seed: int) -> AsyncIterator["MeteredUpstream"]:
        upstream = cls(random.Random(seed))  # noqa: S311 - no secret
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/openai/v1/chat/completions", upstream._complete)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        upstream.url = f"http://{host}:{port}"
        try:
            yield upstream
        finally:
            await runner.cleanup()

    def _tokens(self, text: str) -> int:
        if text not in self.ratios:
            self.ratios[text] = self.chance.uniform(2.0, 6.0)
        return int(len(text) / self.ratios[text])

    def _input_tokens(self, body: dict[str, Any]) -> int:
        texts = [json.dumps(body.get("tools", []))]
        for message in body["messages"]:
            texts += [message["content"] or "", json.dumps(message.get("tool_calls", []))]
        return sum(map(self._tokens, texts))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fate = self.chance.random()
        if fate < 0.1:
            self.refused += 1
            error = {"message": "busy", "type": "server_error"}
            return web.json_response({"error": error}, status=503)
        served = Served(Usage(self._input_tokens(body), 0))
        self.served.append(served)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):
            await self._answer(response, body, served, breaks_off=fate < 0.2)
        return response

    async def _answer(
        self,
        response: web.StreamResponse,
        body: dict[str, Any],
        served: Served,
        *,
        breaks_off: bool,
    ) -> None:
        """Write an answer in pieces, and count each when it is written."""
        calls_a_tool = (
            bool(body.get("tools"))
            and body["messages"][-1]["role"] == "user"
            and self.chance.random() < 0.2
        )
        reasoning = "thinking about it " * self.chance.randrange(1, 20)
        text = "" if calls_a_tool else "an answer of words " * self.chance.randrange(5, 60)
        ratio = self.chance.uniform(2.0, 6.0)
        sizes = {"reasoning": 0, "content": 0}
        pieces = [
            (kind, whole[at : at + PIECE_CHARACTERS])
            for kind, whole in (("reasoning", reasoning), ("content", text))
            for at in range(0, len(whole), PIECE_CHARACTERS)
        ]
        stops_after = self.chance.randrange(len(pieces)) if breaks_off else None
        for number, (kind, piece) in enumerate(pieces):
            if number == stops_after:
                return
            await _frame(response, body, {kind: piece})
            sizes[kind] += len(piece)
            served.usage = Usage(
                served.usage.input_tokens,
                round(sum(sizes.values()) / ratio),
                cached_input_tokens=served.usage.input_tokens // 2,
                reasoning_tokens=round(sizes["reasoning"] / ratio),
            )
            await asyncio.sleep(self.chance.uniform(0, 0.003))
        if calls_a_tool:
            function = {"name": "get_weather", "arguments": '{"city": "New York"}'}
            call = {"index": 0, "id": "call_1", "type": "function", "function": function}
            await _frame(response, body, {"tool_calls": [call]})
        await _frame(
            response,
            body,
            {},
            finish_reason="tool_calls" if calls_a_tool else "stop",
            usage={
                "prompt_tokens": served.usage.input_tokens,
                "completion_tokens": served.usage.output_tokens,
                "prompt_tokens_details": {"cached_tokens": served.usage.cached_input_tokens},
                "completion_tokens_details": {"reasoning_tokens": served.usage.reasoning_tokens},
            },
        )
        await response.write(b"data: [DONE]\n\n")


async def _frame(
    response: web.StreamResponse,
    body: dict[str, Any],
    delta: dict[str, Any],
    *,
    finish_reason: str | None = None,
    usage: dict[str, Any] | None = None,
) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    frame = {"id": "chatcmpl-1", "model": body["model"], "choices": [choice]}
    if usage is not None:
        frame["usage"] = usage
    await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")
