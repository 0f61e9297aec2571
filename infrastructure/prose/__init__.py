"""A linter for prose: proselint, with a small style of our own, over documents and docstrings."""
