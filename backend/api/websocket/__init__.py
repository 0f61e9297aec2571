"""The messages of a WebSocket, in both directions."""
