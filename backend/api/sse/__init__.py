"""Send the events of a turn as Server-Sent Events."""
