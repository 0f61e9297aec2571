"""The history of the schema: one module in `versions` per change of `tables.py`."""
