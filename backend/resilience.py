"""ChatModels around a ChatModel: a second try, and the next model of the list.

Both act only before the first delta. After it the client may have read something, and
nothing is ever said twice.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

import structlog

from backend.completion import ChatModel, CompletionRequest, Delta
from backend.errors import ModelRetired, UpstreamError

logger = structlog.get_logger()


class NamedModel(ChatModel, Protocol):
    name: str


class Retrying:
    """Asks once more when the first failure may pass by itself and says nothing of a wait."""

    def __init__(self, model: NamedModel, *, backoff_seconds: float = 0.5) -> None:
        self.name = model.name
        self._model = model
        self._backoff_seconds = backoff_seconds

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        is_begun = False
        try:
            async with aclosing(self._model.complete(request)) as deltas:
                async for delta in deltas:
                    is_begun = True
                    yield delta
            return
        except UpstreamError as error:
            if is_begun or not error.retryable or error.retry_after is not None:
                raise
            logger.warning("upstream_retried", model=self.name, error=error.code)
        await asyncio.sleep(random.uniform(0, self._backoff_seconds))  # noqa: S311 - full jitter
        async with aclosing(self._model.complete(request)) as deltas:
            async for delta in deltas:
                yield delta


class Fallbacks:
    """An ordered list of models. One that is retired is passed over from then on."""

    def __init__(self, models: Sequence[NamedModel]) -> None:
        self._models = models
        self._retired: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The models in use, in the order in which they are asked."""
        return [model.name for model in self._models if model.name not in self._retired]

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        for model in self._models:
            if model.name in self._retired:
                continue
            try:
                async with aclosing(model.complete(request)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except ModelRetired:
                self._retired.add(model.name)
                logger.warning("model_retired", model=model.name, left=self.names)
        raise ModelRetired("None of the configured models is served any more.")
