"""Each family of dialects: a table of texts with the calls in them."""

from typing import Any

import pytest

from backend.llm.dialects import harmony, hermes, json_calls, kimi, mistral, pythonic
from backend.llm.dialects.calls import calls_in
from tests.unit.llm.dialects.tools import NOTHING, PARIS, SPOKEN, TOKYO, TOOLS, pairs

HARMONY = [
    (f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{SPOKEN}", PARIS),
    (f"<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{SPOKEN}",
     PARIS),
    (f"commentary to=functions.get_weather <|constrain|>json<|message|>{SPOKEN}<|call|>", PARIS),
    (f"assistantcommentary to=functions.get_weather json{SPOKEN}", PARIS),
    (f"<|channel|>commentary to=get_weather<|message|>\n{SPOKEN}\n<|call|>", PARIS),
    ("<|channel|>commentary to=functions.get_weather<|message|><|call|>", NOTHING),
    (f"<|channel|>analysis to=functions.get_weather <|message|>{SPOKEN}<|call|>", PARIS),
    (f"I look it up. <|channel|>commentary to=functions.get_weather<|message|>{SPOKEN}", PARIS),
]  # fmt: skip

KIMI = [
    ("<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     f"<|tool_call_argument_begin|>{SPOKEN}<|tool_call_end|><|tool_calls_section_end|>", PARIS),
    (f"<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{SPOKEN}", PARIS),
    (f"<|tool_calls_section_begin|>get_weather:3<|tool_call_argument_begin|> \n{SPOKEN}", PARIS),
    (f"<|tool_call_begin|>functions.get_weather:0{SPOKEN}<|tool_call_end|>", PARIS),
    (f"functions.get_weather:0<|tool_call_argument_begin|>{SPOKEN}<|tool_call_end|>", PARIS),
    ("<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|><|tool_call_end|>",
     NOTHING),
    # DeepSeek.
    ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
     f"{SPOKEN}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", PARIS),
    (f"<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{SPOKEN}<｜tool▁call▁end｜>", PARIS),
]  # fmt: skip

HERMES = [
    (f'<function name="get_weather">{SPOKEN}</function>', PARIS),
    (f"<function name = 'get_weather' >\n{SPOKEN}\n</function>", PARIS),
    ("<function=get_weather><parameter=city>Paris</parameter></function>", PARIS),
    ("<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
     "</tool_call>", PARIS),
    ("<function=get_weather><parameter=city>Paris", PARIS),
    ('<invoke name="get_weather"><parameter name="city">Paris</parameter></invoke>', PARIS),
    ('<function_calls>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
     "</invoke>\n</function_calls>", PARIS),
    ('<｜DSML｜invoke name="get_weather"><｜DSML｜parameter name="city" string="true">Paris'
     "</｜DSML｜parameter></｜DSML｜invoke>", PARIS),
    ("<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>",
     PARIS),
    ("<tool_use><name>get_weather</name><arguments><city>Paris</city></arguments></tool_use>",
     PARIS),
    ("<tool_call>get_weather</tool_call>", NOTHING),
    (f"<function(get_weather){SPOKEN}</function>", PARIS),
]  # fmt: skip

LLAMA = [
    (f"<function=get_weather>{SPOKEN}</function>", PARIS),
    (f"<function=get_weather{SPOKEN}</function>", PARIS),
    (f"<function=get_weather={SPOKEN}</function>", PARIS),
    (f"<function=get_weather({SPOKEN})</function>", PARIS),
    (f"<function=get_weather>{SPOKEN}></function>", PARIS),
    (f"<function=get_weather>{SPOKEN}", PARIS),
    (f"<function=get_weather<|channel|>commentary>{SPOKEN}</function>", PARIS),
    ("<function=get_weather></function>", NOTHING),
    ("<function=get_weather>", NOTHING),
    (f'<|python_tag|>{{"name": "get_weather", "parameters": {SPOKEN}}}', PARIS),
    ('<|python_tag|>get_weather.call(city="Paris")<|eom_id|>', PARIS),
    ('<|python_start|>[get_weather(city="Paris")]<|python_end|>', PARIS),
]

JSON = [
    (f'{{"name": "get_weather", "arguments": {SPOKEN}}}', PARIS),
    ('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}', PARIS),
    (f'{{"name": "get_weather", "parameters": {SPOKEN}}}', PARIS),
    (f'{{"type": "tool_use", "id": "x", "name": "get_weather", "input": {SPOKEN}}}', PARIS),
    (f'{{"name": "get_weather<|channel|>commentary", "arguments": {SPOKEN}}}', PARIS),
    (f'{{"name": "functions.get_weather", "arguments": {SPOKEN}}}', PARIS),
    (f'{{"name": " get_weather ", "arguments": {SPOKEN}}}', PARIS),
    (f'{{"type": "function", "function": {{"name": "get_weather", "arguments": {SPOKEN}}}}}',
     PARIS),
    (f'{{"tool_calls": [{{"function": {{"name": "get_weather", "arguments": {SPOKEN}}}}}]}}',
     PARIS),
    (f'{{"recipient_name": "functions.get_weather", "parameters": {SPOKEN}}}', PARIS),
    ('{"name": "get_weather", "city": "Paris"}', PARIS),
    (f'{{"get_weather": {SPOKEN}}}', PARIS),
    ('{"name": "get_weather", "arguments": null}', NOTHING),
    ('{"name": "get_weather"}', NOTHING),
    ('{"name": "get_weather", "arguments": ""}', NOTHING),
    (f'Here you are:\n```json\n{{"name": "get_weather", "arguments": {SPOKEN}}}\n```\nDone.',
     PARIS),
    (f'<tool_call>\n{{"name": "get_weather", "arguments": {SPOKEN}}}\n</tool_call>', PARIS),
    (f'{{\n  "name" :\n "get_weather" , "arguments":\n\n{SPOKEN} \n}}', PARIS),
    (f'{{"name": "get_weather", "arguments": {SPOKEN}', PARIS),
    (f'<tool_call>{{"name": "get_weather", "arguments": {SPOKEN}</tool_call>', PARIS),
    (f'{{"name": "get_weather", "arguments": {SPOKEN}}}}}>', PARIS),
    ("{'name': 'get_weather', 'arguments': {'city': 'Paris',},}", PARIS),
    (f'{{"tool_name": "get_weather", "tool_args": {SPOKEN}}}', PARIS),
    (f"<functioncall> {{'name': 'get_weather', 'arguments': '{SPOKEN}'}} </functioncall>", PARIS),
]  # fmt: skip

PYTHON = [
    ('get_weather(city="Paris")', PARIS),
    ("get_weather(city='Paris',)", PARIS),
    ('get_weather("Paris")', PARIS),
    ('get_weather({"city": "Paris"})', PARIS),
    ('get_weather(**{"city": "Paris"})', PARIS),
    ('functions.get_weather( city = "Par" "is" )', PARIS),
    ('print(default_api.get_weather(city="""Paris"""))', PARIS),
    ('```tool_code\nget_weather(city="Paris")\n```', PARIS),
    ('I will call get_weather(city="Paris").', PARIS),
    ('get_weather(city="Paris"', PARIS),
    ("get_weather()", NOTHING),
]

MISTRAL = [
    (f"[TOOL_CALLS]get_weather[ARGS]{SPOKEN}", PARIS),
    (f"[TOOL_CALLS]get_weather{SPOKEN}", PARIS),
    (f"[TOOL_CALLS] [{{\"name\": \"get_weather\", \"arguments\": {SPOKEN}}}]", PARIS),
    (f"get_weather {SPOKEN}", PARIS),
    (f"functions.get_weather:0\n{SPOKEN}", PARIS),
]  # fmt: skip

ONE_CALL = [*HARMONY, *KIMI, *HERMES, *LLAMA, *JSON, *PYTHON, *MISTRAL]


@pytest.mark.parametrize(("text", "expected"), ONE_CALL)
def test_a_call_is_read_in_every_dialect(text: str, expected: tuple[str, Any]) -> None:
    assert pairs(calls_in(text, TOOLS)) == [expected]


@pytest.mark.parametrize(("text", "expected"), ONE_CALL)
def test_a_thought_before_a_call_changes_nothing(text: str, expected: tuple[str, Any]) -> None:
    thought = '<think>Shall I {"name": "book", "arguments": {}}?</think>\n\n'

    assert pairs(calls_in(thought + text, TOOLS)) == [expected]


ONE = f'{{"name": "get_weather", "arguments": {SPOKEN}}}'
OTHER = ONE.replace("Paris", "Tokyo")


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}{OTHER}",
        f"{ONE}\n{OTHER}",
        f"{ONE}, {OTHER}",
        f"{ONE}; {OTHER}",
        f"[{ONE}, {OTHER}]",
        f'{{"tool_calls": [{ONE}, {OTHER}]}}',
        f"First {ONE} and then {OTHER}.",
        f"<tool_call>{ONE}</tool_call>\n<tool_call>{OTHER}</tool_call>",
        f"<tool_call>{ONE}\n<tool_call>{OTHER}",
        f"<tool_call>{ONE}\n{OTHER}</tool_call>",
        '<function=get_weather>{"city": "Paris"}<function=get_weather>{"city": "Tokyo"}',
        '<invoke name="get_weather"><parameter name="city">Paris</invoke>'
        '<invoke name="get_weather"><parameter name="city">Tokyo</invoke>',
        "<|tool_calls_section_begin|>"
        '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris"}'
        '<|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>{"city": "Tokyo"}',
        '<|channel|>commentary to=functions.get_weather<|message|>{"city": "Paris"}<|call|>'
        '<|start|>assistant<|channel|>commentary to=functions.get_weather<|message|>'
        '{"city": "Tokyo"}<|call|>',
        '[get_weather(city="Paris"), get_weather(city="Tokyo")]',
        'get_weather(city="Paris")\nget_weather(city="Tokyo")',
        '[TOOL_CALLS]get_weather{"city": "Paris"}[TOOL_CALLS]get_weather{"city": "Tokyo"}',
    ],
)  # fmt: skip
def test_several_calls_are_read_in_order(text: str) -> None:
    assert pairs(calls_in(text, TOOLS)) == [PARIS, TOKYO]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        "{",
        "[1, 2]",
        "null",
        '{"answer": "get_weather"}',
        '{"name": "dance", "arguments": {}}',
        '<tool_call>{"name": "dance"}</tool_call>',
        "To cancel say <function=cancel> please",
        "dance(city='Paris')",
        "get_weather is what I would call",
        "get_weather(city=Paris)",
        "get_weather(city=open('x').read())",
        'get_weather(city=f"{book()}")',
        '{"name": "get_weather", "arguments": {"city": "Par',
        '{"name": "book", "arguments": {"seats": 1',
        '<think>{"name": "get_weather", "arguments": {}}</think>',
        '<think>Perhaps {"name": "get_weather", "arguments": {}}',
        '<|channel|>analysis<|message|>{"name": "get_weather", "arguments": {}}<|end|>',
        '{"name": "book", "arguments": {}} is it, I think.</think>No.',
    ],
)
def test_what_is_no_call_of_a_known_tool_is_none(text: str) -> None:
    assert calls_in(text, TOOLS) == []


def test_arguments_that_are_broken_are_kept_so_that_the_model_can_be_told() -> None:
    (call,) = calls_in('<function=get_weather>{"city": "Par</function>', TOOLS)

    assert (call.name, call.arguments) == ("get_weather", '{"city": "Par')


def test_parameters_in_tags_have_the_types_of_the_schema() -> None:
    given = {"seats": "\n3\n", "price": "1.5", "is_paid": "True", "note": "7", "user": "null"}
    given["extras"] = '["roof"]'
    tags = "".join(f"<parameter={name}>{value}</parameter>" for name, value in given.items())

    (call,) = pairs(hermes.calls(f"<function=book>{tags}</function>", TOOLS))

    assert call == (
        "book",
        {"seats": 3, "price": 1.5, "is_paid": True, "note": "7", "user": None, "extras": ["roof"]},
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("True", True), ("false", False), ("None", None), ("null", None), ("-3", -3),
        ("1_000", 1000),
        ("1.5e3", 1500.0), (".5", 0.5), ("'it\\'s'", "it's"), ('r"a\\n"', "a\\n"), ("b'x'", "x"),
        ("'\\u00e9\\x41'", "éA"), ("(1, 2)", [1, 2]), ("(1)", 1), ("[]", []), ("{}", {}),
        ("{1, 2}", [1, 2]), ("{'a': [1, {'b': ()}]}", {"a": [1, {"b": []}]}), ("{1: 2}", {"1": 2}),
    ],
)  # fmt: skip
def test_a_keyword_takes_every_kind_of_literal(written: str, expected: Any) -> None:
    (call,) = pairs(pythonic.calls(f"book(note={written})", TOOLS))

    assert call == ("book", {"note": expected})


@pytest.mark.parametrize(
    ("family", "texts"),
    [
        (harmony, HARMONY),
        (kimi, KIMI),
        (hermes, HERMES),
        (json_calls, JSON),
        (pythonic, PYTHON),
        (mistral, [MISTRAL[0], MISTRAL[1]]),
    ],
)
def test_a_family_needs_no_other_to_read_its_own(family: Any, texts: list[tuple[str, Any]]) -> None:
    assert [pairs(family.calls(text, TOOLS)) for text, _ in texts] == [
        [expected] for _, expected in texts
    ]
