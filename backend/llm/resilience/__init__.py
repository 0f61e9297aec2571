"""The layers around a ChatModel that keep one failure from reaching every client.

From the inside out: `attempt` asks once, and no model that is down or used up; the provider's
repair reads what only its answers have; `fallback` asks the next model of the list, each with the
retries of `retry`. Nobody is asked again behind the first delta: the client may have read it, and
nothing is ever said twice.
"""
