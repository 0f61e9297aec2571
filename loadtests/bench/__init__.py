"""Benchmarks: what something costs, as one figure and how far it spreads."""
