"""Looks up the state of the service after an act.

Turns, histories and replays come first. New queries come last, because they can repair a session.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any
from zlib import crc32

import aiohttp

from loadtests.chaos import questions
from loadtests.chaos.found import Booked, Found, History, StoredTurn, Told
from loadtests.chaos.record import Event, Reading, Record
from loadtests.chaos.stage import LEASE_SECONDS, TURN_SECONDS, Stage
from loadtests.chaos.talking import Broken, Refused, streaming
from loadtests.chaos.waiting import left_after

AT_ONCE = 16
REPAIR_SECONDS = 4 * LEASE_SECONDS + 5.0
"""Time in which the turns of a dead worker must be closed, and its sessions free."""
READ_TRIES = 10
REFUSED_SECONDS = 20.0
"""Time in which a query must be accepted again; open breakers close within it."""


async def find(stage: Stage, record: Record, began_at: datetime) -> Found:
    """Look everything up, after all clients have left and all servers are up again."""
    open_upstream = await _until_upstream_is_left(stage)
    await asyncio.sleep(LEASE_SECONDS)
    found = Found(began_at, await stage.postgres.now())
    found.open_upstream = open_upstream
    found.running_turns, _ = await asyncio.gather(
        _running_turns(stage), _look_up_turns(stage, record.turns, found)
    )
    await _each(record.places | record.earlier, lambda each: _look_up_history(stage, each, found))
    there = found.histories.keys() & record.places
    unknown = {turn for each in there for turn in found.histories[each]} - record.turns
    await _each(unknown, lambda each: _look_up_turn(stage, each, found))
    await _each(_replayed(record), lambda each: _look_up_replay(stage, each, found))
    found.bookings = [each for each in await stage.postgres.bookings() if _is_of(record, each)]
    await _each(there, lambda each: _ask_again(stage, each, found))
    return found


async def _until_upstream_is_left(stage: Stage) -> int:
    """Wait for turns without readers to end. Returns the number of completions that do not."""
    return await left_after(TURN_SECONDS + 5.0, stage.open_upstream)


async def _running_turns(stage: Stage) -> list[str]:
    """Ask the database, because a request to the service could repair the turn."""
    return await left_after(REPAIR_SECONDS, stage.postgres.running_turns)


async def _look_up_turns(stage: Stage, turns: Iterable[str], found: Found) -> None:
    """Look up turns; look running ones up again until they should be repaired."""
    left = set(turns)

    async def look() -> set[str]:
        await _each(left, lambda each: _look_up_turn(stage, each, found))
        left.intersection_update(turn for turn, told in found.turns.items() if not told.outcome)
        return left

    await left_after(REPAIR_SECONDS, look)


async def _each(what: Iterable[Any], do: Callable[[Any], Awaitable[None]]) -> None:
    waiting = sorted(what)

    async def work() -> None:
        while waiting:
            await do(waiting.pop())

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _some(stage: Stage, name: str) -> str:
    """The address of an instance, always the same for a name. Any instance could answer."""
    return stage.urls[crc32(name.encode()) % len(stage.urls)]


async def _get(stage: Stage, path: str) -> Any:
    """Get a resource from any instance. None if it does not exist.

    Raises:
        aiohttp.ClientError: no answer after some tries, although the service is up.
    """
    url = _some(stage, path)
    for left in reversed(range(READ_TRIES)):
        try:
            async with stage.http.get(url + path) as answer:
                if answer.status == 404:
                    return None
                answer.raise_for_status()
                return await answer.json()
        except aiohttp.ClientError:
            if not left:
                raise
            await asyncio.sleep(1)
    return None


async def _look_up_turn(stage: Stage, turn_id: str, found: Found) -> None:
    turn = await _get(stage, f"/turns/{turn_id}")
    if turn is not None:
        finished_at = turn["finished_at"]
        found.turns[turn_id] = StoredTurn(
            turn["outcome"],
            turn["error_code"],
            datetime.fromisoformat(turn["started_at"]),
            datetime.fromisoformat(finished_at) if finished_at else None,
        )


async def _look_up_history(stage: Stage, session_id: str, found: Found) -> None:
    page = await _get(stage, f"/sessions/{session_id}/messages")
    if page is not None:
        found.histories[session_id] = history(page["messages"])


def history(messages: Iterable[dict[str, Any]]) -> History:
    """The messages of the API, by turn."""
    of_turn: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in messages:
        of_turn[message["turn_id"]].append(message)
    return {turn_id: _told(said) for turn_id, said in of_turn.items()}


def _told(messages: list[dict[str, Any]]) -> Told:
    asked = [message for message in messages if message["role"] == "user"]
    answers = [message for message in messages if message["role"] == "assistant"]
    outputs = [message for message in messages if message["role"] == "tool"]
    calls = [call for message in answers for call in message.get("tool_calls") or ()]
    return Told(
        questions=len(asked),
        asked="\n".join(message["content"] for message in asked),
        text="".join(message.get("content") or "" for message in answers),
        calls={call["id"]: call for call in calls},
        outputs={message["tool_call_id"]: message["output"] for message in outputs},
    )


def _replayed(record: Record) -> set[str]:
    return {each.turn_id for each in record.readings if each.is_whole and each.is_resumable}


async def _look_up_replay(stage: Stage, turn_id: str, found: Found) -> None:
    replayed = Reading(turn_id, "", is_resumable=True)
    url = f"{_some(stage, turn_id)}/turns/{turn_id}/events"
    try:
        async with streaming(stage.http, "GET", url) as stream:
            async for frame in stream.frames():
                replayed.take(frame)
    except Refused as refusal:
        if refusal.status == 404:
            return
        replayed.events = [("error", json.dumps({"code": refusal.code}))]
    except Broken:
        pass
    events: list[Event] = replayed.events
    found.replays[turn_id] = events


def _is_of(record: Record, booked: Booked) -> bool:
    return booked.user_id in record.attempts


async def _ask_again(stage: Stage, session_id: str, found: Found) -> None:
    why = partial(_why_not_answered, stage, session_id)
    found.held[session_id] = await left_after(REFUSED_SECONDS, why)


async def _why_not_answered(stage: Stage, session_id: str) -> str:
    body = {"query": questions.hello().query(is_real=False), "session_id": session_id}
    url = f"{_some(stage, session_id)}/query"
    try:
        async with streaming(stage.http, "POST", url, json=body) as stream:
            reading = Reading(stream.turn_id, session_id)
            async for frame in stream.frames():
                reading.take(frame)
    except Refused as refusal:
        return str(refusal)
    except Broken:
        return "the connection broke"
    return "" if reading.told == "completed" else f"it ended as {reading.told}, {reading.errors}"
