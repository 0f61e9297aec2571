"""Confirmation ids: short enough to read out on the phone, too many to guess."""

import secrets

# Without 0 and O, 1, I and L, which look alike. 31 ** 8 is 850 thousand million.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


def new_confirmation_id() -> str:
    return "SC-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
