"""Kept state. `memory` and `sql` stand behind its `ports`, and `factory` picks one; behind the
shared logs stands `redis`.
"""
