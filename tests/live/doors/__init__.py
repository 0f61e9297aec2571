"""Doors with real clients over real sockets."""
