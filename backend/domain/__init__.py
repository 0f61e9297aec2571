"""The terms of a conversation as plain data: sessions, messages, events, errors."""
