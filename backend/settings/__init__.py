"""The environment, read once."""

from backend.settings.settings import Settings

__all__ = ["Settings"]
