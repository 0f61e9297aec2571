"""Fakes of our own ports: a scripted model, shared logs in memory, a clock, tools, a showroom."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time

from pydantic import Field

from backend.domain.conversation import ANONYMOUS, Caller, ToolCall
from backend.domain.errors import StorageError, ToolRefused, UpstreamError
from backend.domain.showroom import CarModel, Dealership, OpenHours, Showroom
from backend.domain.usage import Usage
from backend.llm.port import CompletionRequest, Delta, Finish, Text
from backend.storage.memory.stores import memory_stores
from backend.storage.ports.shared_logs import Received, SharedBatch
from backend.tools.arguments import Arguments
from backend.tools.context import ToolContext
from backend.tools.registry import Output, tool
from backend.tools.sample_weather import SampleWeather

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""A Monday."""

Step = Delta | UpstreamError | asyncio.Event
"""A delta is yielded, an error is raised, an event is awaited."""


@dataclass(frozen=True)
class Scripted:
    """The script of one completion."""

    steps: Sequence[Step]


def says(*texts: str, usage: Usage = Usage(10, 5)) -> Scripted:  # noqa: B008 - frozen
    return Scripted([*map(Text, texts), Finish(reason="stop", model="scripted", usage=usage)])


def calls(*named: tuple[str, str], says: str = "") -> Scripted:
    """A completion with tool calls, given by name and arguments. Ids are call_1, call_2, …"""
    steps: list[Step] = [Text(says)] if says else []
    steps += [
        ToolCall(f"call_{number}", name, arguments)
        for number, (name, arguments) in enumerate(named, start=1)
    ]
    return Scripted([*steps, Finish(reason="tool_calls", model="scripted", usage=Usage(10, 5))])


def breaks(error: UpstreamError, *before: Step) -> Scripted:
    return Scripted([*before, error])


@dataclass
class ScriptedModel:
    """Plays one completion per call, and repeats the last one when the script is over."""

    script: Sequence[Scripted]
    name: str = "scripted"
    requests: list[CompletionRequest] = field(default_factory=list)
    open_completions: int = 0

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        completion = self.script[min(len(self.requests), len(self.script)) - 1]
        self.open_completions += 1
        is_begun = False
        try:
            for step in completion.steps:
                match step:
                    case UpstreamError():
                        step.is_late = is_begun
                        raise step
                    case asyncio.Event():
                        await step.wait()
                    case _:
                        is_begun = True
                        yield step
        finally:
            self.open_completions -= 1


class MemoryLogs:
    """Shared logs without Redis. Each worker opens its own over the same `kept`."""

    def __init__(self, kept: dict[str, list[SharedBatch]]) -> None:
        self.kept = kept
        self.is_down = False
        self.is_read_only = False
        self.writes: list[Sequence[SharedBatch]] = []
        self._nudges_seen = 0

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        if self.is_down or self.is_read_only:
            raise StorageError
        self.writes.append(batches)
        for batch in batches:
            stream = self.kept.setdefault(batch.turn_id, [])
            if not stream or stream[-1].last < batch.last:
                stream.append(batch)
        for worker in nudged:
            self.kept.setdefault(worker, []).append(SharedBatch(worker, 0, 0, b""))
        for turn_id in forgotten:
            self.kept.pop(turn_id, None)

    async def check(self) -> None:
        if self.is_down or self.is_read_only:
            raise StorageError("a replica, which takes no writes")

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        if self.is_down:
            raise StorageError
        await asyncio.sleep(0.001)
        batches = [
            batch
            for turn, last in after.items()
            for batch in self.kept.get(turn, ())
            if batch.last > last
        ]
        nudges = len(self.kept.get(worker, ()))
        is_nudged, self._nudges_seen = nudges > self._nudges_seen, nudges
        return Received(batches, is_nudged=is_nudged)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def scripted(*script: Scripted) -> ScriptedModel:
    return ScriptedModel(script)


class EchoArguments(Arguments):
    word: str = Field(description="Any word")


class Echo(Output):
    word: str


@tool()
async def echo(arguments: EchoArguments, context: ToolContext) -> Echo:  # noqa: ARG001
    """Say the word again."""
    return Echo(word=arguments.word)


@tool()
async def refuse(arguments: EchoArguments, context: ToolContext) -> Echo:  # noqa: ARG001
    """Say no."""
    raise ToolRefused(f"No {arguments.word} today.", code="no", nearest=["other"])


class Gates:
    """Tools that wait until the test opens the gate, and record how they ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.opened = asyncio.Event()
        self.ended: list[str] = []

        async def wait(arguments: EchoArguments, context: ToolContext) -> Echo:  # noqa: ARG001
            """Wait."""
            return await self._pass(arguments.word)

        async def book(arguments: EchoArguments, context: ToolContext) -> Echo:  # noqa: ARG001
            """Change the world, slowly."""
            return await self._pass(arguments.word)

        self.tools = (tool()(wait), tool(has_side_effects=True)(book))

    async def _pass(self, word: str) -> Echo:
        self.begun.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.ended.append(f"{word} cancelled")
            raise
        self.ended.append(f"{word} done")
        return Echo(word=word)


WEEKDAYS = OpenHours(time(9), time(18))

SHOWROOM = Showroom(
    dealerships=(
        Dealership(
            id="manhattan",
            name="SuperCar Manhattan",
            address="1 Example Avenue, New York",
            phone="+1 212-555-0100",
            time_zone="America/New_York",
            hours=(WEEKDAYS,) * 6 + (None,),
        ),
    ),
    car_models=(CarModel("Apex GT", "A fast one."),),
)


def a_context(caller: Caller = ANONYMOUS, now: datetime = NOW) -> ToolContext:
    stores = memory_stores(lease_seconds=15)
    return ToolContext(
        caller=caller,
        showroom=SHOWROOM,
        appointments=stores.appointments,
        profiles=stores.profiles,
        weather=SampleWeather(),
        now=now,
    )
