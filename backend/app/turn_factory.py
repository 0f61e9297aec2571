"""Build the turns of a worker, and what they need: prompt, tools and their context, shared logs."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial

from backend.agent.flush_pace import FlushPace
from backend.agent.loop import Assistant, Turn
from backend.agent.prompt import FRONT_END, Prompt
from backend.api.sse import legacy
from backend.app.background import summarize
from backend.app.worker import Worker
from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import ANONYMOUS, Caller
from backend.domain.showroom import Showroom
from backend.llm.resilience.fallback import Fallback
from backend.settings import Settings
from backend.storage.ports.stores import Stores
from backend.storage.redis.logs import RedisLogs
from backend.telemetry.loop_lag import LoopLag
from backend.telemetry.turn_clock import TurnClock
from backend.tools.context import ToolContext, WeatherProvider
from backend.tools.open_meteo import OpenMeteo
from backend.tools.registry import Toolbox
from backend.tools.sample_weather import SampleWeather
from backend.turns.kinds import Kind, OpenTurn
from backend.turns.limits import TurnLimits
from backend.turns.shared_logs import SharedLogs
from backend.turns.turns import Turns


def open_shared_logs(settings: Settings, worker: str, stack: AsyncExitStack) -> SharedLogs | None:
    if settings.redis_url is None:
        return None
    # Keep a shared log until its turn must have ended. The session store has it from then on.
    kept_seconds = 2 * settings.turn_timeout_seconds
    logs = RedisLogs(settings.redis_url.get_secret_value(), kept_seconds=kept_seconds)
    shared_logs = SharedLogs(logs, worker=worker)
    shared_logs.open()
    stack.push_async_callback(shared_logs.close)
    return shared_logs


def open_weather(settings: Settings, stack: AsyncExitStack) -> WeatherProvider:
    if settings.weather_provider == "sample":
        return SampleWeather()
    provider = OpenMeteo()
    stack.push_async_callback(provider.aclose)
    return provider


def load_prompt(settings: Settings) -> Prompt:
    return Prompt.load(legacy.PROMPT if settings.client_profile == "legacy" else "")


async def typical_input_tokens(worker: Worker, stores: Stores) -> int:
    """Estimate the input of a first question: the prompt and the tools."""
    showroom = await stores.showrooms.showroom()
    prompt = load_prompt(worker.settings).fill(showroom, worker.clock(), ANONYMOUS)
    specs = Toolbox(worker.tools, timeout_seconds=0).specs
    tools = str([[spec.name, spec.description, spec.parameters] for spec in specs])
    return round((len(prompt) + len(tools)) / CHARACTERS_PER_TOKEN)


async def open_turns(
    worker: Worker,
    stores: Stores,
    models: Fallback,
    clock: Callable[[], datetime],
    shared_logs: SharedLogs | None,
    lag: LoopLag,
    pace: FlushPace,
    stack: AsyncExitStack,
) -> Turns:
    settings = worker.settings
    assistant = Assistant(
        model=models,
        toolbox=Toolbox(worker.tools, timeout_seconds=settings.tool_timeout_seconds),
        max_rounds=settings.max_rounds,
        history_tokens=settings.history_tokens,
        input_limit_tokens=lambda: models.input_limit_tokens,
        pace=pace,
    )
    showroom = await stores.showrooms.showroom()
    weather = open_weather(settings, stack)
    opener = partial(_turn_opener, stores=stores, showroom=showroom, weather=weather, clock=clock)
    front_end = replace(
        assistant,
        toolbox=Toolbox((), timeout_seconds=settings.tool_timeout_seconds),
        purpose="front_end",
    )
    return Turns(
        check=models.check,
        sessions=stores.sessions,
        open_turn=opener(assistant, load_prompt(settings)),
        ephemeral=Kind.ephemeral(opener(front_end, Prompt(FRONT_END)), stores.usage),
        worker=worker.name,
        limits=TurnLimits(
            max_streams=settings.max_streams,
            timeout_seconds=settings.turn_timeout_seconds,
            grace_seconds=settings.disconnect_grace_seconds,
            remote_timeout_seconds=settings.lease_seconds,
        ),
        shared_logs=shared_logs,
        on_drain=summarize(settings, stores, assistant, stack),
        new_clock=lambda: TurnClock(lag.stood_still),
    )


def _turn_opener(
    assistant: Assistant,
    prompt: Prompt,
    *,
    stores: Stores,
    showroom: Showroom,
    weather: WeatherProvider,
    clock: Callable[[], datetime],
) -> OpenTurn:
    def open_turn(caller: Caller, asked: str) -> Turn:
        context = ToolContext(
            caller=caller,
            showroom=showroom,
            appointments=stores.appointments,
            profiles=stores.profiles,
            weather=weather,
            now=clock(),
        )
        filled = prompt.fill(showroom, context.now, caller)
        return Turn(assistant, context=context, prompt=filled, query=asked)

    return open_turn
