"""Doors: other protocols on the same turns, one folder each.

A door translates. It reads the request of its protocol, asks through `Asking`, and frames the
events. It reads sessions, and stores nothing. Limits, budgets and the upstream are not its
business.
"""

CHAT_PATHS = ("/api/chat", "/ag-ui", "/v1/chat/completions")
"""Where front ends ask. Most of them send their whole chat with each question."""
