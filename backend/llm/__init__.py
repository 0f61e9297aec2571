"""The model behind `port.ChatModel`: a provider, its models' dialects, and resilience."""
