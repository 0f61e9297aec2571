"""OpenAI's chat completions: Lex as the model `lex`, for any program that knows that API.

The API: https://platform.openai.com/docs/api-reference/chat
"""
