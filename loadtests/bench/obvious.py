"""The obvious service, for comparison: what one writes in an afternoon.

The SDK's own stream, `sse-starlette`, a dict for histories. It has no tools, no store, no limits
and no telemetry, and it forgets to close what a client leaves behind.

    GROQ_API_KEY=… uvicorn loadtests.bench.obvious:app
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from groq import AsyncGroq
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

app = FastAPI()
histories: dict[str, list[Any]] = defaultdict(list)


class Query(BaseModel):
    query: str
    session_id: str = Field(default_factory=lambda: uuid4().hex)


def client() -> AsyncGroq:
    """Made with the first query, and kept: the SDK reads key and address from the environment."""
    if not hasattr(app.state, "groq"):
        app.state.groq = AsyncGroq()
    groq: AsyncGroq = app.state.groq
    return groq


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/query")
async def query(body: Query) -> EventSourceResponse:
    return EventSourceResponse(answer(body), sep="\n")


async def answer(body: Query) -> AsyncIterator[ServerSentEvent]:
    history = histories[body.session_id]
    history.append({"role": "user", "content": body.query})
    said = ""
    stream = await client().chat.completions.create(
        model="llama-3.3-70b-versatile", messages=history, stream=True
    )
    async for chunk in stream:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            said += text
            yield ServerSentEvent(event="chunk", data=text, sep="\n")
    history.append({"role": "assistant", "content": said})
    yield ServerSentEvent(event="end", data="", sep="\n")
