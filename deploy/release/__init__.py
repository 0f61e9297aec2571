"""What a release consists of, made and checked without a network: `make release-check`."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


class NotReady(Exception):
    """A part of the release is missing or contradicts another. The message says which."""
