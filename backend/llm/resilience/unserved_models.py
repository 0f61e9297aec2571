"""Models that the upstream does not serve to us: why, and when to probe each one again.

The probe is a small completion of our own in the background, so that no user's turn pays for it.
The upstream's list of models would not do, because it includes blocked models.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from backend.domain.conversation import Message
from backend.domain.errors import (
    AnswerCut,
    ModelNotServed,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
)
from backend.llm.port import CompletionRequest, NamedModel

logger = structlog.get_logger()

FIRST_WAIT_SECONDS = 300.0
LONGEST_WAIT_SECONDS = 3600.0
"""The wait doubles after each failed probe, up to this."""

QUESTION_TOKENS = 16
"""Enough for a one-word answer. If a model uses them up on reasoning, that proves as much."""


@dataclass(frozen=True, slots=True)
class UnservedModel:
    """A model that is left out, and the time of its next probe.

    `wait_seconds` is the time between two probes; infinite if there will be none.
    """

    reason: str
    wait_seconds: float
    asked_again_at: float


class UnservedModels:
    """The models that are left out, by name.

    Calls `on_away` once when a model is left out, and `on_back` once when it is served again.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_away: Callable[[str], None] = lambda _: None,
        on_back: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._on_away = on_away
        self._on_back = on_back
        self._models: dict[str, UnservedModel] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def __bool__(self) -> bool:
        """Whether any model is left out."""
        return bool(self._models)

    def reason_of(self, name: str) -> str | None:
        unserved = self._models.get(name)
        return None if unserved is None else unserved.reason

    def seconds_left(self, name: str) -> float | None:
        """Seconds until the next probe; None if the model is served, or retired for good."""
        unserved = self._models.get(name)
        if unserved is None or math.isinf(unserved.asked_again_at):
            return None
        return max(0.0, unserved.asked_again_at - self._clock())

    @property
    def soonest_seconds(self) -> float:
        """Seconds until the next probe of any model.

        If all are retired, an arbitrary wait: somebody must change the configuration first.
        """
        waits = [self.seconds_left(name) for name in self._models]
        return min((wait for wait in waits if wait is not None), default=FIRST_WAIT_SECONDS)

    @property
    def are_final(self) -> bool:
        return all(math.isinf(unserved.asked_again_at) for unserved in self._models.values())

    def leave_out(self, name: str, error: ModelNotServed) -> None:
        """Leave out a model after the upstream refused it.

        Concurrent turns get the same refusal, so repeated calls are ignored. Only the news that the
        model is retired for good still counts.
        """
        known = self._models.get(name)
        if known is not None and not error.is_final:
            return
        self._put(name, error.reason, math.inf if error.is_final else FIRST_WAIT_SECONDS)
        if known is None:
            self._on_away(name)
        told = "model_retired" if error.is_final else "model_set_aside"
        logger.warning(
            told, model=name, reason=error.reason, asked_again_in=self.seconds_left(name)
        )

    async def ask_again(self, models: Iterable[NamedModel]) -> None:
        """Probe the models that are due, one after the other."""
        for model in models:
            if self.seconds_left(model.name) == 0:
                await self._ask(model)

    async def _ask(self, model: NamedModel) -> None:
        try:
            async with aclosing(model.complete(_question())) as deltas:
                async for _ in deltas:
                    pass
        except ModelNotServed as error:
            self._keep_out(model.name, error)
        except (AnswerCut, ToolUseFailed):
            self._take_back(model.name)  # it answered, but spent the few tokens on reasoning
        except UpstreamError as error:
            if isinstance(error, UpstreamBusy) and error.was_asked:
                self._take_back(model.name)  # only the rate is used up: the model is served
            else:
                self._postpone(model.name)
        else:
            self._take_back(model.name)

    def _keep_out(self, name: str, error: ModelNotServed) -> None:
        if error.is_final:
            self.leave_out(name, error)
            return
        twice = 2 * self._models[name].wait_seconds
        self._put(name, error.reason, min(LONGEST_WAIT_SECONDS, twice))
        logger.info("model_still_set_aside", model=name, asked_again_in=self._rounded(name))

    def _postpone(self, name: str) -> None:
        """Wait again without doubling: the probe got no verdict on the model."""
        unserved = self._models[name]
        self._put(name, unserved.reason, unserved.wait_seconds)

    def _take_back(self, name: str) -> None:
        self._models.pop(name, None)
        self._on_back(name)
        logger.warning("model_served_again", model=name)

    def _rounded(self, name: str) -> int | None:
        seconds = self.seconds_left(name)
        return None if seconds is None else round(seconds)

    def _put(self, name: str, reason: str, wait_seconds: float) -> None:
        self._models[name] = UnservedModel(reason, wait_seconds, self._clock() + wait_seconds)


def _question() -> CompletionRequest:
    return CompletionRequest(
        prompt="Answer with one word.",
        messages=[Message.user("Are you there?")],
        max_tokens=QUESTION_TOKENS,
        is_awaited=False,
    )
