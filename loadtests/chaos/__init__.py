"""`make chaos`: real servers under load and faults, and checks of everything they acknowledged."""
