"""The ports in plain dicts: for tests, and as the semantics in their most readable form.

Nothing here awaits, so every method is one transaction.
"""
