"""How often a client may ask: slowapi counts in each worker, `limits.aio` in all together."""
