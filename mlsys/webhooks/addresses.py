"""Which addresses mlsys may connect to on a user's word, and what a URL means. Decides by text and number alone; nothing is looked up."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlsys import errors

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_VISIBLE = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,2048}")  # no space, control, backslash: parsers disagree on what they do
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}
# ipaddress calls these global, or did so in some Python version; what is not in 2000::/3 (mapped, NAT64, translated) falls out anyhow
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_UNICAST = ipaddress.ip_network("2000::/3")
_ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a URL leads. ``host``: lower case, IPv6 without brackets; ``path``: with the query; ``authority``: the Host header."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == _PORTS[self.scheme] else f"{shown}:{self.port}"


def parse(url: str) -> Target:
    """Raises Invalid for ``url`` unless it is an http or https URL that every client reads alike."""
    if not _VISIBLE.fullmatch(url):
        raise _wrong("Write an http or https URL of at most 2,048 visible ASCII characters; other characters as %XX, a host as xn--...")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("This is not a URL: write it like https://example.org/path.") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise _wrong("Write an http or https URL with a host, like https://example.org/path.")
    if "@" in parts.netloc:
        raise _wrong("Leave the user info (name@) out: it would be stored and logged with the URL.")
    if port == 0 or parts.netloc.endswith(":"):
        raise _wrong("The port must be 1 to 65535.")
    if "#" in url:
        raise _wrong("Leave the fragment (#...) out: it is never sent.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        scheme=parts.scheme, host=_host(parts.hostname, bracketed="[" in parts.netloc), port=port or _PORTS[parts.scheme], path=path
    )


def literal(host: str) -> Address | None:
    """The address that a host spells out; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def refusal(address: Address) -> str | None:
    """Why mlsys does not connect to an address; None for one on the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id or address not in _UNICAST:
            return "it is no public unicast address"
        if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
            return "it carries an IPv4 address"
    if (
        not address.is_global
        or address.is_multicast
        or any(address in network for network in _SPECIAL if network.version == address.version)
    ):
        return "it is not on the public internet"
    return None


def _host(text: str, *, bracketed: bool) -> str:
    """One spelling of a host. Numbers that some parsers take for an IPv4 address (127.1, 0x7f.1, 2130706433) are refused."""
    name = text.rstrip(".").lower() if text.endswith(".") and not text.endswith("..") else text.lower()
    found = literal(name)
    if bracketed != isinstance(found, ipaddress.IPv6Address):
        raise _wrong("Write an IPv6 address, and nothing else, in brackets.")
    if found is not None:
        return str(found)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise _wrong("Write an IPv4 address as four decimal numbers, without leading zeros.")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _wrong("The host is not a name of DNS: letters, digits and hyphens, its parts separated by single dots.")
    return name


def _wrong(text: str) -> errors.Invalid:
    return errors.Invalid({"url": text})
