"""Names of tools as models write them."""

import pytest

from backend.llm.dialects.names import UNKNOWN_TOOL, cleaned, sendable
from tests.unit.llm.dialects.tools import TOOLS

WRITTEN = [
    "get_weather",
    "get_weather<|channel|>commentary",
    "get_weather<|channel|>commentary json",
    "get_weather<|constrain|>json",
    "functions.get_weather",
    "functions.get_weather:0",
    "functions.functions.get_weather",
    "function:get_weather",
    "tools/get_weather",
    "default_api.get_weather",
    " get_weather\n",
    "get_weather ",
    "`get_weather`",
    '"get_weather"',
    "get_weather()",
    "get_weather(city='Paris')",
    "get_weather commentary",
    "<|constrain|>get_weather",
    "assistant<|channel|>commentary to=functions.get_weather",
    "<|start|>assistant<|channel|>commentary to=functions.get_weather<|constrain|>json",
    "<｜tool▁sep｜>get_weather",
]


@pytest.mark.parametrize("written", WRITTEN)
def test_the_tool_that_is_meant_is_found(written: str) -> None:
    assert TOOLS.find(written) == "get_weather"
    assert sendable(written) == "get_weather"


@pytest.mark.parametrize("written", ["", " ", "<|channel|>commentary", "functions.", "()", "``"])
def test_a_name_of_artefacts_alone_is_none(written: str) -> None:
    assert TOOLS.find(written) is None
    assert cleaned(written) in ("", "commentary")
    assert sendable(written) in (UNKNOWN_TOOL, "commentary")


@pytest.mark.parametrize(
    ("written", "sent"),
    [("Get Weather", "Get"), ("météo", "m_t_o"), ("a.b", "a_b"), ("x" * 300, "x" * 64)],
)
def test_a_name_is_sent_as_the_upstream_takes_it(written: str, sent: str) -> None:
    assert sendable(written) == sent
