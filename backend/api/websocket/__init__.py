"""The WebSocket messages of server and client."""
