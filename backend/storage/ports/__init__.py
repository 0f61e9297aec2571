"""The ports of kept state, one a file.

Every method may raise `StorageError`. Times are aware and in UTC, except those of
appointments: a date and a time on the wall of the dealership.
"""
