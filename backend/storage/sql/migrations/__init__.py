"""The schema's history: one module in `versions` for every change of `tables.py`."""
