"""Limit how often a client may ask, and how much it may have open at once.

slowapi counts in each worker; `limits.aio` counts in Redis, across all workers.
"""
