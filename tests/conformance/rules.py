"""Judge what a client received: by the rules for all streams, and by what a step expects."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tests.conformance.exchanges import Expect, Rule, Suite
from tests.conformance.matching import difference, sequence
from tests.conformance.streams import Event, Stream


class Breach(NamedTuple):
    """A MUST that does not hold, and how that shows."""

    must: str
    why: str


def judge(suite: Suite, stream: Stream, *, is_refused: bool) -> Iterator[Breach]:
    """Apply the rules for all streams. An answer that is no stream has nothing to judge."""
    if not stream.is_stream:
        return
    for rule in suite.rules:
        if rule.ids not in (None, stream.has_ids) or (rule.but == "refused" and is_refused):
            continue
        for why in _applied(rule, suite, stream):
            yield Breach(rule.must, why)


def _applied(rule: Rule, suite: Suite, stream: Stream) -> Iterator[str]:
    is_http = bool(stream.headers)
    match rule.of:
        case "headers" if is_http:
            yield from _like(rule, stream.headers)
        case "bytes" if is_http:
            whole = stream.text if stream.is_whole else "\n\n".join([*stream.frames, ""])
            yield from _patterns(rule, whole)
        case "frames" if is_http:
            for frame in stream.frames:
                yield from _patterns(rule, frame)
        case "names" if stream.is_whole:
            if rule.check:
                yield from _CHECKS[rule.check](stream)
            known = suite.known if rule.known else None
            yield from _patterns(rule, _names(stream.events, known))
        case "messages" if not is_http:
            for message in stream.messages:
                if rule.event in (None, message.get("type")):
                    yield from _like(rule, message)
        case "data":
            for event in stream.events:
                if event.name == rule.event:
                    yield from _like(rule, event.data)


def _like(rule: Rule, value: Any) -> Iterator[str]:
    if found := difference(rule.like, value, rule.event or rule.of):
        yield found


def _patterns(rule: Rule, text: str) -> Iterator[str]:
    if rule.matches is not None and not re.fullmatch(rule.matches, text, re.DOTALL):
        yield f"{rule.of}: {text!r} does not match {rule.matches}"
    if rule.never is not None and (found := re.search(rule.never, text)):
        yield f"{rule.of}: {found[0]!r} in {text!r}"


def _names(events: list[Event], known: Any = None) -> str:
    return "".join(f"{event.name} " for event in events if known is None or event.name in known)


def _calls(stream: Stream) -> Iterator[str]:
    """Each call has one output, behind it and of the same tool."""
    waiting: dict[str, str] = {}
    for event, id_, tool in _tools(stream):
        if event == "tool_call":
            waiting[id_] = tool
        elif waiting.pop(id_, None) != tool:
            yield f"the output {id_!r} of {tool} has no call before it, or a second one"
    if waiting:
        yield f"these calls have no output: {waiting}"


def _rounds(stream: Stream) -> Iterator[str]:
    """No call comes while the outputs of earlier ones have begun, and are not complete."""
    waiting: set[str] = set()
    has_begun = False
    for event, id_, _ in _tools(stream):
        if event == "tool_call":
            if waiting and has_begun:
                yield f"the call {id_!r} comes between the outputs of a round"
            has_begun = False
            waiting.add(id_)
        else:
            has_begun = True
            waiting.discard(id_)


def _tools(stream: Stream) -> Iterator[tuple[str, str, str]]:
    """The calls and outputs in order: event, id of the call, name of the tool."""
    for event in stream.events:
        if event.name in ("tool_call", "tool_output") and isinstance(event.data, dict):
            yield event.name, str(event.data.get("id")), str(event.data.get("name"))


def _ids(stream: Stream) -> Iterator[str]:
    """Ids are those of one turn, and their numbers grow."""
    last, turns = 0, set()
    for event in stream.events:
        found = re.fullmatch(r"(\S+?)-(?:lost-)?(\d+)", event.id or "")
        if found is None:
            yield f"{event.name} has the id {event.id!r}"
            return
        turns.add(found[1])
        if int(found[2]) <= last:
            yield f"the id {event.id} comes after number {last}"
        last = int(found[2])
    if turns != {stream.turn} and "x-turn-id" in stream.headers:
        yield f"the ids are of {turns}, and the stream of {stream.turn}"


_CHECKS: Mapping[str, Callable[[Stream], Iterator[str]]] = {
    "calls": _calls,
    "rounds": _rounds,
    "ids": _ids,
}


def compare(expect: Expect, stream: Stream, streams: Mapping[str, Stream]) -> Iterator[str]:
    """What of an expectation does not hold. `streams` are those of earlier steps by name."""
    if expect.status is not None and stream.headers and stream.status != expect.status:
        yield f"the status is {stream.status}, and not {expect.status}: {stream.text[:200]}"
    checks = [
        (expect.headers or None, dict(stream.headers), "headers"),
        (expect.body, _body(stream), "body"),
        (expect.text, stream.said, "text"),
        (expect.ids, [event.id for event in stream.events], "ids"),
        (expect.closed, stream.closed, "close code"),
    ]
    for wanted, value, name in checks:
        if wanted is not None and (found := difference(wanted, value, name)):
            yield found
    if expect.events is not None:
        names = _names(stream.events)
        if not re.fullmatch(sequence(expect.events), names):
            yield f"the events are {names}, and not {expect.events}"
    for event in stream.events:
        wanted = expect.data.get(event.name)
        if wanted is not None and (found := difference(wanted, event.data, event.name)):
            yield found
    yield from _keys(expect, stream)
    if expect.begins_with_comment and not re.match(r"(id:.*\nretry:.*\n\n)?:", stream.text):
        yield "no comment comes before the first event"
    if stream.comments < expect.comments:
        yield f"there are {stream.comments} comments, and not {expect.comments}"
    yield from _relations(expect, stream, streams)


def _body(stream: Stream) -> Any:
    try:
        return json.loads(stream.raw)
    except ValueError:
        return stream.text


def _keys(expect: Expect, stream: Stream) -> Iterator[str]:
    for message in stream.messages:
        wrong = [key for key in expect.absent if key in message]
        wrong += [key for key in expect.present if key not in message]
        if wrong:
            yield f"{wrong} should be the other way round in {message}"


def _relations(expect: Expect, stream: Stream, streams: Mapping[str, Stream]) -> Iterator[str]:
    if expect.turn is not None and stream.turn != streams[expect.turn].turn:
        yield f"the turn is {stream.turn!r}, and not {streams[expect.turn].turn!r}"
    if expect.other_turn is not None and stream.turn == streams[expect.other_turn].turn:
        yield f"the turn is {stream.turn!r} again"
    if expect.begins_at is not None:
        place = f"id: {streams[expect.begins_at].last_id}\n"
        if not stream.text.startswith(place):
            yield f"the stream begins with {stream.text[:60]!r}, and not with {place!r}"
    if expect.same_as:
        before = [event for name in expect.same_as for event in streams[name].events]
        has_ids = all(event.id for event in before)
        shown, wanted = (
            [
                (e.name, e.data, e.id) if has_ids else (e.name, _without_round(e.data))
                for e in events
            ]
            for events in (stream.events, before)
        )
        if shown != wanted:
            yield f"these events are not the same: {shown} and {wanted}"


def _without_round(data: Any) -> Any:
    """The data as in a stream without ids."""
    return {key: data[key] for key in data if key != "round"} if isinstance(data, dict) else data
