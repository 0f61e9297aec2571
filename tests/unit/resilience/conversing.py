"""Asking a model and listening to it."""

from contextlib import aclosing

from backend.completion import ChatModel, CompletionRequest, Delta, Text, ToolSpec


def a_request(silent: set[str] | None = None) -> CompletionRequest:
    tools = [ToolSpec(name, "", {}) for name in ("get_weather", "a")]
    silent = set() if silent is None else silent
    return CompletionRequest(prompt="You are Lex.", messages=[], tools=tools, silent=silent)


def an_unawaited_request() -> CompletionRequest:
    return CompletionRequest(prompt="Sum up.", messages=[], is_awaited=False)


async def deltas_of(model: ChatModel, request: CompletionRequest | None = None) -> list[Delta]:
    async with aclosing(model.complete(request or a_request())) as deltas:
        return [delta async for delta in deltas]


async def said(model: ChatModel, *, silent: set[str] | None = None) -> str:
    deltas = await deltas_of(model, a_request(silent))
    return "".join([delta.text for delta in deltas if isinstance(delta, Text)])


async def heard_before_failing(model: ChatModel, error: type[Exception]) -> list[Delta]:
    """What came before the failure, which must be of this kind."""
    heard: list[Delta] = []
    try:
        async for delta in model.complete(a_request()):
            heard.append(delta)
    except error:
        return heard
    raise AssertionError(f"{error.__name__} was not raised")
