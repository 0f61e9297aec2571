"""Budgets of tokens and of cost, for sessions and clients."""
