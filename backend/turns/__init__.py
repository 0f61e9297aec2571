"""Start, run, follow and stop the turns of this worker, and keep their event logs."""
