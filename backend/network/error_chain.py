"""The chain of causes of an exception."""


def chain(error: BaseException) -> list[BaseException]:
    """The exception and its causes (`raise … from`), from the caught one back to the root cause."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__
    return found
