"""`make chaos`: real servers under load and faults, and a check of all that they acknowledged."""
