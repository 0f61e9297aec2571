"""The HTTP API: one file for each group of routes, and the code that they share."""
