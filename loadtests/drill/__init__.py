"""The fault drill: which panels turn red and which alerts fire when a known party is at fault."""
