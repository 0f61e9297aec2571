"""Texts in which a model meant a tool call, in the form that the upstream returns them."""

from dataclasses import dataclass

PARIS = '{"city": "Paris"}'
TOKYO = '{"city": "Tokyo"}'
JSON = f'{{"name": "get_weather", "arguments": {PARIS}}}'
JSON_TOKYO = f'{{"name": "get_weather", "arguments": {TOKYO}}}'


@dataclass(frozen=True)
class Generation:
    """A text with a meant call. `cities` are those whose weather it asks for; with none, the model
    is asked again.

    `said` is the part that a customer sees if the text arrives as an answer. `is_quoted` means that
    such an answer may only quote a call, so it is shown unchanged.
    """

    text: str
    cities: tuple[str, ...] = ("Paris",)
    said: str = ""
    is_quoted: bool = False


def both(text: str) -> Generation:
    return Generation(text, ("Paris", "Tokyo"))


def quoted(text: str) -> Generation:
    return Generation(text, said=text, is_quoted=True)


def unread(text: str) -> Generation:
    return Generation(text, cities=())


HARMONY = [
    Generation(
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        f"{PARIS}<|call|>"
    ),
    Generation(
        "<|channel|>analysis<|message|>We need the weather.<|end|><|start|>assistant<|channel|>"
        f"commentary to=functions.get_weather <|constrain|>json<|message|>{PARIS}<|call|>"
    ),
    Generation(
        f"<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{PARIS}"
    ),
    Generation(f"commentary to=functions.get_weather <|constrain|>json<|message|>{PARIS}"),
    Generation(f"<|channel|>commentary to=get_weather<|message|>\n\n{PARIS}\n"),
    Generation(
        f"I look it up. <|channel|>commentary to=functions.get_weather<|message|>{PARIS}<|call|>",
        said="I look it up. ",
    ),
    both(
        f"<|channel|>commentary to=functions.get_weather<|message|>{PARIS}<|call|><|start|>"
        f"assistant<|channel|>commentary to=functions.get_weather<|message|>{TOKYO}<|call|>"
    ),
    unread("<|channel|>commentary to=functions.dance<|message|>{}<|call|>"),
    unread("<|channel|>analysis<|message|>The user wants the weather.<|end|>"),
]

KIMI = [
    Generation(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        f"<|tool_call_argument_begin|>{PARIS}<|tool_call_end|><|tool_calls_section_end|>"
    ),
    Generation(
        "<|tool_calls_section_begin|>\n<|tool_call_begin|> functions.get_weather:0 "
        f"<|tool_call_argument_begin|>\n{PARIS}"
    ),
    Generation(f"<|tool_call_begin|>get_weather<|tool_call_argument_begin|>{PARIS}"),
    Generation(
        f"Sure. <|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{PARIS}"
        "<|tool_call_end|>",
        said="Sure. ",
    ),
    both(
        "<|tool_calls_section_begin|>"
        f"<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{PARIS}"
        "<|tool_call_end|>"
        f"<|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>{TOKYO}"
        "<|tool_call_end|><|tool_calls_section_end|>"
    ),
    Generation(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        f"{PARIS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    Generation(f"<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{PARIS}<｜tool▁call▁end｜>"),
    unread("<|tool_call_begin|>functions.dance:0<|tool_call_argument_begin|>{}<|tool_call_end|>"),
]

TAGS = [
    Generation(f"<tool_call>\n{JSON}\n</tool_call>"),
    Generation(f"<tool_call>{JSON}"),
    Generation(f"<tool_call>{JSON}></tool_call>"),
    Generation(f"<tool_call>{JSON[:-1]}</tool_call>"),
    Generation(f"<think>\nThe weather, then.\n</think>\n\n<tool_call>\n{JSON}\n</tool_call>"),
    Generation(f"<think>The weather, then. <tool_call>{JSON}</tool_call>"),
    Generation(f"Let me look.\n<tool_call>{JSON}</tool_call>", said="Let me look.\n"),
    both(f"<tool_call>{JSON}</tool_call>\n<tool_call>{JSON_TOKYO}</tool_call>"),
    both(f"<tool_call>{JSON}\n{JSON_TOKYO}</tool_call>"),
    Generation(f'<function name="get_weather">{PARIS}</function>'),
    Generation("<function=get_weather><parameter=city>Paris</parameter></function>"),
    Generation(
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
        "</tool_call>"
    ),
    Generation("<function=get_weather><parameter=city>Paris"),
    Generation('<invoke name="get_weather"><parameter name="city">Paris</parameter></invoke>'),
    Generation(
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "</tool_call>"
    ),
    Generation(f"<function=get_weather>{PARIS}</function>"),
    Generation(f"<function=get_weather{PARIS}</function>"),
    Generation(f"<function=get_weather={PARIS}</function>"),
    Generation(f"<function=get_weather>{PARIS}></function>"),
    Generation(f"<function=get_weather>{PARIS}"),
    unread('<tool_call>{"name": "dance", "arguments": {}}</tool_call>'),
    unread("<tool_call>{broken</tool_call>"),
    unread("<think>Shall I look it up?</think>"),
    unread("<function=dance>{}</function>"),
]

OTHER_MARKS = [
    Generation(f'<|python_tag|>{{"name": "get_weather", "parameters": {PARIS}}}'),
    Generation('<|python_tag|>get_weather.call(city="Paris")<|eom_id|>'),
    Generation(f"[TOOL_CALLS][{JSON}]"),
    Generation(f"[TOOL_CALLS]get_weather{PARIS}"),
    Generation(f"[TOOL_CALLS]get_weather[ARGS]{PARIS}"),
]

BARE = [
    Generation(JSON),
    Generation(f'{{"name": "get_weather<|channel|>commentary", "arguments": {PARIS}}}'),
    Generation(f'{{"name": "functions.get_weather", "arguments": {PARIS}}}'),
    Generation('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}'),
    Generation(f'{{"name": "get_weather", "parameters": {PARIS}}}'),
    Generation(f'{{"type": "tool_use", "name": "get_weather", "input": {PARIS}}}'),
    Generation(
        f'{{"type": "function", "function": {{"name": "get_weather", "arguments": {PARIS}}}}}'
    ),
    Generation(JSON[:-1]),
    Generation(f"\n {{\n'name' : 'get_weather',\n 'arguments' : {PARIS},\n}}\n"),
    Generation(f"```json\n{JSON}\n```"),
    Generation(f"```\n{JSON}\n```"),
    both(f"{JSON}\n{JSON_TOKYO}"),
    both(f"{JSON}{JSON_TOKYO}"),
    both(f"[{JSON}, {JSON_TOKYO}]"),
    Generation('get_weather(city="Paris")'),
    Generation("get_weather('Paris')"),
    Generation('```python\nget_weather(city="Paris")\n```'),
    both('[get_weather(city="Paris"), get_weather(city="Tokyo")]'),
    both('get_weather(city="Paris")\nget_weather(city="Tokyo")'),
    quoted(f"I will look it up: {JSON}"),
    quoted('I will call get_weather(city="Paris").'),
    quoted(f"get_weather {PARIS}"),
    unread('{"name": "get_weather", "arguments": {"city": "Par'),
    unread('{"name": "dance", "arguments": {}}'),
    unread("get_weather(city=Paris)"),
]

GENERATIONS = [*HARMONY, *KIMI, *TAGS, *OTHER_MARKS, *BARE]
SAMPLE = [*HARMONY[:2], KIMI[0], *TAGS[4:7], TAGS[11], OTHER_MARKS[1], BARE[1], BARE[9], BARE[17]]
