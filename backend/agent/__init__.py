"""The turn itself: rounds of completions and tool calls, the prompt, and summaries.

It uses `llm.port` and `storage.ports`, and emits events. It knows no HTTP, no SQL and no provider.
"""
