"""What goes to a cluster."""
