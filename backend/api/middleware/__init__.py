"""Middleware for every request, one file each.

All of it is plain ASGI: Starlette's BaseHTTPMiddleware buffers streams and hides disconnects.
"""
