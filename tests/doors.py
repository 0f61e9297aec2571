"""One question in the form of each door."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

AsBody = Callable[[str, str, str], dict[str, Any]]
"""Makes a body of a session id, a question, and the id of the question."""


@dataclass(frozen=True)
class Door:
    name: str
    path: str
    body_of: AsBody
    end: str
    """A text in the last frame of a stream."""

    def body(self, session_id: str, query: str, *, message_id: str | None = None) -> dict[str, Any]:
        return self.body_of(session_id, query, message_id or uuid4().hex)

    def headers(self, session_id: str) -> dict[str, str]:
        return {"X-Session-Id": session_id} if self.name == "openai" else {}


def _ui(session_id: str, query: str, message_id: str) -> dict[str, Any]:
    message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": query}]}
    return {"id": session_id, "messages": [message], "trigger": "submit-message"}


def _run(session_id: str, query: str, message_id: str) -> dict[str, Any]:
    message = {"id": message_id, "role": "user", "content": query}
    return {
        "threadId": session_id,
        "runId": f"run-{message_id}",
        "messages": [message],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": {},
    }


def _completion(_session_id: str, query: str, _message_id: str) -> dict[str, Any]:
    return {"model": "lex", "stream": True, "messages": [{"role": "user", "content": query}]}


AI_SDK = Door("ai_sdk", "/api/chat", _ui, "[DONE]")
AG_UI = Door("ag_ui", "/ag-ui", _run, "RUN_FINISHED")
OPENAI = Door("openai", "/v1/chat/completions", _completion, "[DONE]")
DOORS = (AI_SDK, AG_UI, OPENAI)


def code_of(body: str) -> str:
    """The code of a refusal, in the form of any door."""
    problem = json.loads(body)
    return str(problem.get("error", problem)["code"])
