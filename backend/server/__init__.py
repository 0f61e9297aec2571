"""The process around the application, which it knows by its name only."""
