"""The chat model behind `port.ChatModel`: one provider, the dialects of its models, resilience."""
