"""Text from the wire, as every client and every database takes it: no NUL, no half characters."""


def clean(text: str) -> str:
    """A NUL or a lone surrogate becomes a replacement character; surrogates that meet are one."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text if is_encodable(text) else paired(text)


def is_encodable(text: str) -> bool:
    """Whether it is free of surrogates. Costs nothing for ASCII, which nearly all text is."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def paired(text: str) -> str:
    """JSON may write a character as two escapes, and a server may send them in two frames."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_half(character: str) -> bool:
    """Whether it is the first of two surrogates, so that the second may still come."""
    return "\ud800" <= character <= "\udbff"


def size_of(text: str) -> int:
    """Its bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
