"""One type of user in each module."""
