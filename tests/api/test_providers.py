"""A second provider, defined in this test, can be registered, answers, and fails."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest

from backend.app.llm_providers import PROVIDERS, OpenProvider, Provider, chosen
from backend.domain.errors import UpstreamRefused
from backend.llm.port import Allowance
from backend.main import create_app
from backend.settings import Settings
from backend.telemetry import tracing
from tests.fakes import Scripted, ScriptedModel, breaks, calls, echo, says
from tests.otlp import collecting
from tests.serving import lex, outcome_of, settings, text_of

ADDRESS = "https://elsewhere.example"
WITHOUT_KEY: dict[str, Any] = {
    "provider": "elsewhere",
    "groq_api_key": None,
    "model_fallbacks": "none",
}


class Elsewhere:
    """A provider with one scripted model that reports its rate limits with each call."""

    def __init__(self, *script: Scripted) -> None:
        self.model = ScriptedModel(script)
        self.is_open = False

    @property
    def provider(self) -> Provider:
        return Provider("elsewhere", lambda _: ADDRESS, self._open)

    def _open(self, settings: Settings, stack: AsyncExitStack) -> OpenProvider:
        assert settings.groq_api_key is None
        stack.enter_context(self._opened())
        return OpenProvider(self._make_model)

    def _make_model(self, name: str, *, on_allowance: Callable[[Allowance], None]) -> ScriptedModel:
        on_allowance(Allowance(kind="requests", remaining=10, reset_seconds=1, limit=10))
        self.model.name = name
        return self.model

    @contextmanager
    def _opened(self) -> Iterator[None]:
        self.is_open = True
        yield
        self.is_open = False


async def test_another_provider_answers_a_whole_turn_without_a_key_of_groqs() -> None:
    elsewhere = Elsewhere(calls(("echo", '{"word": "hi"}')), says("You said ", "hi."))
    providers = (*PROVIDERS, elsewhere.provider)

    async with lex(tools=(echo,), providers=providers, model_name="m", **WITHOUT_KEY) as service:
        was_open = elsewhere.is_open
        events = await service.ask("Say hi")
        ready = (await service.client.get("/readyz")).json()

    assert [event for event, _ in events[:3]] == ["tool_use", "tool_call", "tool_output"]
    assert text_of(events) == "You said hi."
    assert outcome_of(events)["outcome"] == "completed"
    assert (ready["status"], ready["upstream"]) == ("ready", ADDRESS)
    assert ready["models"] == [{"name": "m", "breaker": "closed"}]
    assert (was_open, elsewhere.is_open) == (True, False)
    assert service.standin.stats.connections == 0


async def test_its_failure_is_an_error_event_like_any_other() -> None:
    elsewhere = Elsewhere(breaks(UpstreamRefused()))

    async with lex(providers=(elsewhere.provider,), **WITHOUT_KEY) as service:
        events = await service.ask("Hello")

    (name, error), *_ = events
    assert name == "error"
    assert UpstreamRefused.code in error
    assert outcome_of(events)["outcome"] == "failed"


async def test_spans_name_the_provider_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Elsewhere(says("Hello."))

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with lex(providers=(elsewhere.provider,), model_name="m", **WITHOUT_KEY) as service:
            await service.ask("Hello")

    for span in (collector.one("invoke_agent lex"), collector.one("chat m")):
        assert span.attributes["gen_ai.provider.name"] == "elsewhere"
    assert not tracing.captures_content()


def test_a_provider_that_nobody_knows_is_refused_in_one_line_that_lists_those_that_exist() -> None:
    elsewhere = Elsewhere(says("Hello."))

    with pytest.raises(SystemExit) as stopped:
        create_app(settings(provider="grok"), providers=(*PROVIDERS, elsewhere.provider))

    line = "lex: PROVIDER cannot be used: set it to one of: groq, elsewhere."
    assert str(stopped.value) == line


def test_groq_is_chosen_when_nothing_is_said() -> None:
    assert chosen(settings()).name == "groq"
