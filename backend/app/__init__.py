"""What `main` opens, by what it is for. Whoever opens puts the closing onto the stack."""
