"""Everything that outlives a request.

`memory` and `sql` both implement the `ports`, and `factory` picks one of them. `redis` implements
the port of the shared logs.
"""
