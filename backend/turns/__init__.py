"""The turns of this worker and their event logs: start, run, follow, stop."""
