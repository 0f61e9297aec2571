"""Helpers for asyncio: a reusable time-out, repeated work, and the end of tasks."""
