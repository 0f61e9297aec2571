"""A second try, and the next model of the list."""

from contextlib import aclosing

import pytest

from backend.completion import ChatModel, CompletionRequest, Delta, Text
from backend.errors import ModelRetired, UpstreamBusy, UpstreamRefused, UpstreamUnavailable
from backend.resilience import Fallbacks, Retrying
from tests.fakes import ScriptedModel, breaks, says

REQUEST = CompletionRequest(prompt="", messages=[])


async def said(model: ChatModel) -> str:
    async with aclosing(model.complete(REQUEST)) as deltas:
        return "".join([delta.text async for delta in deltas if isinstance(delta, Text)])


async def test_a_passing_failure_is_tried_once_more() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable()), says("Hello.")])

    assert await said(Retrying(model, backoff_seconds=0)) == "Hello."

    assert len(model.requests) == 2


async def test_a_second_failure_is_passed_on() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable())])

    with pytest.raises(UpstreamUnavailable):
        await said(Retrying(model, backoff_seconds=0))

    assert len(model.requests) == 2


async def test_nothing_is_said_twice() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable(), Text("Hel")), says("Hello.")])
    heard: list[Delta] = []

    with pytest.raises(UpstreamUnavailable):
        async for delta in Retrying(model, backoff_seconds=0).complete(REQUEST):
            heard.append(delta)

    assert heard == [Text("Hel")]
    assert len(model.requests) == 1


@pytest.mark.parametrize("error", [UpstreamRefused(), UpstreamBusy(retry_after=30)])
async def test_what_a_second_try_cannot_mend_is_not_tried(error: UpstreamRefused) -> None:
    model = ScriptedModel([breaks(error)])

    with pytest.raises(type(error)):
        await said(Retrying(model, backoff_seconds=0))

    assert len(model.requests) == 1


async def test_a_retired_model_is_passed_over_for_good() -> None:
    old = ScriptedModel([breaks(ModelRetired())], name="old")
    new = ScriptedModel([says("Hello.")], name="new")
    models = Fallbacks([old, new])

    answers = [await said(models), await said(models)]

    assert answers == ["Hello.", "Hello."]
    assert (len(old.requests), len(new.requests)) == (1, 2)
    assert models.names == ["new"]


async def test_another_failure_is_not_a_retirement() -> None:
    old = ScriptedModel([breaks(UpstreamRefused())], name="old")
    new = ScriptedModel([says("Hello.")], name="new")
    models = Fallbacks([old, new])

    with pytest.raises(UpstreamRefused):
        await said(models)

    assert models.names == ["old", "new"]


async def test_with_every_model_retired_there_is_a_clear_error() -> None:
    models = Fallbacks([ScriptedModel([breaks(ModelRetired())], name="old")])

    with pytest.raises(ModelRetired, match="None of the configured models"):
        await said(models)
