"""Reads the tool calls and the reasoning that models write as text.

There is one file per family: `harmony`, `kimi` (and DeepSeek), `hermes` (tags: Qwen, Llama,
Anthropic), `mistral`, `pythonic`, `json_calls`. Each finds the calls of known tools anywhere in a
text. `calls` tries them in turn on a whole text, `text_reader` on a text that is still arriving.

The text is hostile input, because a model may repeat whatever a stranger told it. So nothing is
evaluated, and everything takes linear time: the patterns use possessive quantifiers (`*+`) and
bounded repeats, which never backtrack far.
"""
