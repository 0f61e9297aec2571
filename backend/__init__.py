"""The Lex service. `main` puts it together. ARCHITECTURE.md shows the layers and who owns what."""

__version__ = "0.1.0"
