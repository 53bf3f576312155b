"""Text of others as plain text: characters that would move a terminal's cursor, or begin a line of their own, become visible escapes."""


def escaped(text: str, *, keep: str = "") -> str:
    """``keep``: characters that stay although they are not printable."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
