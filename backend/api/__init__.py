"""The HTTP API: one file a group of routes, and what they share."""
