"""How models write tool calls and reasoning as text, and how such text is read.

One file for each family: `harmony`, `kimi` (and DeepSeek), `hermes` (tags: Qwen, Llama, Anthropic),
`mistral`, `pythonic`, `json_calls`. Each finds the calls of known tools anywhere in a text. `calls`
asks them in turn; `text_reader` does the same to a text that is still being written.

Nothing is evaluated, and everything takes linear time: the text comes from a model, which may
repeat what a stranger told it.
"""
