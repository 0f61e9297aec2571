"""The layers around a ChatModel that keep upstream failures away from clients.

From the inside out: `attempt` makes one call, unless the model is down or its rate used up. The
provider's tool call repair wraps it. `retry` repeats the call, and `fallback` moves on to the next
model. After the first delta nothing is retried, because the client may have read it already.

Turns that wait for a model queue at its `gate`. `shared_rates` makes the gates and budgets of all
workers act as one.
"""
