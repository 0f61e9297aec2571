"""From an error to what it was raised from, and so on."""


def chain(error: BaseException) -> list[BaseException]:
    """The error that was caught comes first, and the one that happened first comes last."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__
    return found
