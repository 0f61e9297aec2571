"""One kind of user each."""
