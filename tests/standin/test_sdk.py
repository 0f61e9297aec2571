"""The real SDK can read the stand-in's answers."""

import pytest
from groq import AsyncGroq, AuthenticationError

from infrastructure.groq_standin import Standin


async def test_the_sdk_reads_a_stream(standin: Standin, groq: AsyncGroq) -> None:
    standin.script({"text": "Grüße aus 東京 🏎️!"})

    stream = await groq.chat.completions.create(
        model="groq-standin", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    chunks = [chunk async for chunk in stream]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "Grüße aus 東京 🏎️!"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].x_groq is not None
    assert chunks[-1].x_groq.usage is not None


async def test_the_sdk_reads_a_whole_completion(standin: Standin, groq: AsyncGroq) -> None:
    standin.script({"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]})

    completion = await groq.chat.completions.create(
        model="groq-standin", messages=[{"role": "user", "content": "Hi"}]
    )

    (call,) = completion.choices[0].message.tool_calls or []
    assert call.function.arguments == '{"city":"Paris"}'
    assert completion.usage is not None


async def test_the_sdk_knows_a_refused_key(groq: AsyncGroq) -> None:
    with pytest.raises(AuthenticationError) as refused:
        await groq.with_options(api_key="invalid").models.list()

    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["code"] == "invalid_api_key"


async def test_one_connection_serves_one_completion_after_the_other(
    standin: Standin, groq: AsyncGroq
) -> None:
    for _ in range(5):
        stream = await groq.chat.completions.create(
            model="groq-standin", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert [chunk async for chunk in stream]

    assert standin.stats.completed == 5
    assert standin.stats.connections == 1
