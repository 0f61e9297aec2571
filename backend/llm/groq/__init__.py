"""Groq as a `ChatModel`, and all that only Groq does. Another provider is a folder beside it."""
