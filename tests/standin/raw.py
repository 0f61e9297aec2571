"""Plain HTTP without a client library, which would hide the bytes."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.waiting import within_limit

COMPLETIONS = "/openai/v1/chat/completions"
MODEL = "llama-3.3-70b-versatile"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    is_terminated: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def frames(self) -> list[bytes]:
        return [frame + b"\n\n" for frame in self.body.split(b"\n\n")[:-1]]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON of every `data:` frame except `[DONE]`."""
        found = [frame.removeprefix(b"data: ").strip() for frame in self.frames]
        return [json.loads(data) for data in found if data != b"[DONE]"]

    @property
    def text(self) -> str:
        deltas = [chunk["choices"][0]["delta"] for chunk in self.chunks if chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def body(*messages: dict[str, Any], model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {"model": model, "stream": True, "messages": messages or [user("Hello")], **more}


def request(
    value: Any = None, *, method: str = "POST", path: str = COMPLETIONS, key: str | None = "key"
) -> bytes:
    data = b"" if value is None else value
    if not isinstance(data, bytes):
        data = json.dumps(value).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: standin", f"content-length: {len(data)}"]
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + data


async def read(reader: asyncio.StreamReader) -> Answer:
    """Read one answer, or its part before a reset or an early end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    answer = Answer(int(first.split()[1]), headers, b"")
    if "content-length" in headers:
        answer.body = await reader.readexactly(int(headers["content-length"]))
        return answer
    parts: list[bytes] = []
    size = -1
    try:
        while size != 0:
            size = int(await reader.readuntil(b"\r\n"), 16)
            parts.append((await reader.readexactly(size + 2))[:-2])
    except (asyncio.IncompleteReadError, ConnectionResetError):
        answer.is_terminated = False
    answer.body = b"".join(parts)
    return answer


async def exchange(url: str, *requests: bytes) -> list[Answer]:
    """Send all requests at once on one connection, and read one answer for each."""
    reader, writer = await connect(url)
    try:
        writer.write(b"".join(requests))
        return [await within_limit(read(reader)) for _ in requests]
    finally:
        writer.close()


async def ask(url: str, *messages: dict[str, Any], **more: Any) -> Answer:
    (answer,) = await exchange(url, request(body(*messages, **more)))
    return answer


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port), limit=8 * 1024 * 1024)
