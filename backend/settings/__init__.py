"""The settings: environment variables and `.env`, read once at the start."""

from backend.settings.settings import Settings

__all__ = ["Settings"]
