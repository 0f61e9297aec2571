"""How often somebody may ask: by slowapi in each worker, by `limits.aio` in all together."""
