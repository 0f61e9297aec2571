"""Addresses, host names, listening sockets, file descriptors, and why a connection failed."""
