"""Cleans text from the wire: no NUL and no lone surrogates, which clients and databases refuse."""


def clean(text: str) -> str:
    """Replace NULs and lone surrogates by U+FFFD, and join surrogate pairs to one character."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text if is_encodable(text) else paired(text)


def is_encodable(text: str) -> bool:
    """Whether the text has no surrogates. Costs nothing for ASCII, like most text."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def paired(text: str) -> str:
    """Join surrogate pairs. JSON may escape a character as a pair, even split over two frames."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_half(character: str) -> bool:
    """Whether this is a high surrogate, whose other half may still come."""
    return "\ud800" <= character <= "\udbff"


def size_of(text: str) -> int:
    """The size in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
