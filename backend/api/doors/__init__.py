"""Doors: other protocols on the same turns, one folder each.

A door translates. It reads the request of its protocol, asks through `Asking`, and frames the
events. Storage, limits, budgets and the upstream are not its business.
"""
