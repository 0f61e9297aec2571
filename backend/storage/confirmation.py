"""Confirmation ids: short enough to read out on the phone, random enough that guessing fails."""

import secrets

# Leaves out 0 and O, 1, I and L, because they look alike. 31 ** 8 ids are 8.5e11.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


def new_confirmation_id() -> str:
    return "SC-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
