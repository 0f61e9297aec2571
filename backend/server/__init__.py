"""The server process. It knows the application only by its import name."""
