"""ChatModels around a ChatModel, so that one failure is not everybody's.

From the inside out: `traced` makes a span of each call, `guard` asks nobody who is down or used
up, `rescue` reads calls that the upstream could not, `retries` asks again, `fallbacks` asks the
next. All of them act only before the first delta: after it the client may have read something,
and nothing is ever said twice.
"""
