"""Benchmarks: the cost of Lex, as a figure with its spread."""
