"""The turn itself: rounds of a completion and its tool calls, the prompt, and summaries.

It knows no HTTP, no SQL and no provider: it asks `llm.port` and `storage.ports`, and emits
events.
"""
