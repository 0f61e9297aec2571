"""The storage ports in plain dicts: for tests, and as the most readable form of their semantics.

No method awaits anything, so each one is a transaction.
"""
