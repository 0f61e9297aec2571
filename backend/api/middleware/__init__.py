"""Plain ASGI that every request passes, one file each."""
