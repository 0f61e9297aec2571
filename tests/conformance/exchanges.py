"""The suite as it is in the files: exchanges, rules, transports. A misspelt key is an error."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SUITE = Path(__file__).with_name("suite")
TRANSPORTS, STREAMS, CLIENTS = "transports.yaml", "streams.yaml", "clients.yaml"


@dataclass(frozen=True)
class Expect:
    """A step's expectations of its stream. A field that is not given allows anything."""

    status: int | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    events: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    ids: Sequence[str] | None = None
    absent: Sequence[str] = ()
    present: Sequence[str] = ()
    comments: int = 0
    begins_with_comment: bool = False
    begins_at: str | None = None
    turn: str | None = None
    other_turn: str | None = None
    same_as: Sequence[str] = ()
    refused: Mapping[str, Any] | None = None
    closed: int | None = None


@dataclass(frozen=True)
class Step:
    """One thing that a client does: it asks, requests, reads on (`go_on`), or sends (`tell`)."""

    ask: str | None = None
    request: Mapping[str, Any] | None = None
    go_on: str | None = None
    tell: str | None = None
    message: Any = None
    question: str | None = None
    session: str | None = None
    over: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    resume: str | None = None
    last_event_id: str | None = None
    read: int | None = None
    then: str = "cut"
    until: Any = None
    repeat_until: int | None = None
    stream: str | None = None
    shows: Sequence[str] = ()
    expect: Expect = field(default_factory=Expect)

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Step":
        step = cls(**{**written, "expect": Expect(**written.get("expect", {}))})
        kinds = [step.ask, step.request, step.go_on, step.tell]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(f"a step has one of ask, request, go_on and tell: {written}")
        return step


@dataclass(frozen=True)
class Exchange:
    id: str
    over: Sequence[str]
    steps: Sequence[Step]
    needs: Sequence[str] = ()
    waives: Sequence[str] = ()

    @property
    def shows(self) -> frozenset[str]:
        return frozenset(must for step in self.steps for must in step.shows)

    @property
    def stimuli(self) -> frozenset[str]:
        return frozenset(step.ask for step in self.steps if step.ask)


@dataclass(frozen=True)
class Rule:
    must: str
    of: str
    event: str | None = None
    matches: str | None = None
    never: str | None = None
    like: Any = None
    check: str | None = None
    known: bool = False
    ids: bool | None = None
    # The key in the files is `except`, which Python keeps for itself.
    but: str | None = None


@dataclass(frozen=True)
class Transport:
    name: str
    ask: Mapping[str, Any]
    refusal: str
    socket: str | None = None
    resume: Mapping[str, Any] | None = None
    ids: bool = True
    session: str = "chosen"


@dataclass(frozen=True)
class Suite:
    exchanges: Sequence[Exchange]
    rules: Sequence[Rule]
    known: Sequence[str]
    json_events: Sequence[str]
    transports: Mapping[str, Transport]
    refusals: Mapping[str, Mapping[str, Any]]

    @property
    def musts(self) -> frozenset[str]:
        """All that the exchanges, the rules and the forms of refusals can show."""
        shown = {must for exchange in self.exchanges for must in exchange.shows}
        shown |= {must for form in self.refusals.values() for must in form["shows"]}
        return frozenset(shown | {rule.must for rule in self.rules})

    def exchange(self, id_: str) -> Exchange:
        return next(exchange for exchange in self.exchanges if exchange.id == id_)


def load(folder: Path = SUITE) -> Suite:
    """Read all files of the suite. Raises: TypeError or ValueError, if one has a strange key."""
    ways, streams = _read(folder / TRANSPORTS), _read(folder / STREAMS)
    names = {name: Transport(name=name, **way) for name, way in ways["transports"].items()}
    exchanges = [
        Exchange(
            **{
                **written,
                "over": list(_names(written["over"], ways["groups"])),
                "steps": [Step.of(step) for step in written["steps"]],
            }
        )
        for file in sorted(folder.glob("*.yaml"))
        if file.name not in (TRANSPORTS, STREAMS, CLIENTS)
        for written in _read(file)["exchanges"]
    ]
    rules = [
        Rule(**{"but" if key == "except" else key: value for key, value in rule.items()})
        for rule in streams["rules"]
    ]
    return Suite(exchanges, rules, streams["events"], streams["json"], names, ways["refusals"])


def _names(over: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in over:
        yield from groups.get(name, [name])


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())
