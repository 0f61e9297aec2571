"""Kept state. `memory` and `sql` stand behind its `ports`, and `opening` picks one; behind the
shared logs stands `redis`.
"""
