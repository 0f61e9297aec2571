"""Timing helpers for asyncio: one timeout for many waits, and work that repeats."""
