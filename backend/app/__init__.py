"""Open the parts of a worker for `main`. Functions that open something push its closing, too."""
