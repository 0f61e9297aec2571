"""The storage ports, one per file.

Every method may raise `StorageError`. Times are time-zone aware and in UTC. Only appointments use
the dealership's local date and time.
"""
