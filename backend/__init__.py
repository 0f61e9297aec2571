"""Lex: the service. `main` puts it together; ARCHITECTURE.md says who owns what."""

__version__ = "0.1.0"
