"""Authenticate callers by credential or cookie, and check the origins of browsers."""
