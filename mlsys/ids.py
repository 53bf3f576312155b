"""Short, unique, URL-safe identifiers. Order and time are told by the logs, never by an id."""

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32: no look-alikes to misread over the phone


def new_id(length: int = 12) -> str:
    """``length`` random characters, 5 bits each (12: one collision expected among a billion ids)."""
    bits = secrets.randbits(5 * length)  # asked for once: a thousand runs may be queued in one moment
    return "".join(_ALPHABET[bits >> 5 * place & 31] for place in range(length))
