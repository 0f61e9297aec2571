"""Groq as a `ChatModel`. Another provider would get a folder next to this one."""
