"""Addresses, host names, listening sockets, file descriptors and causes of failed connections."""
