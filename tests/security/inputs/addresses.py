"""Addresses that a webhook would be called at: every spelling of this machine and its network, and names that change their mind."""

import json
from pathlib import Path

from security.table import Attack, ask, post, rows
from security.target import Answer, Target

SPELLINGS = [
    url for url in (Path(__file__).parents[2] / "refused_addresses.txt").read_text().split() if url.rstrip("./") != "http://127.0.0.1"
]
"""All but the one that this server allows."""
ODD = {
    "user info": "http://example.org@10.0.0.1/",
    "backslash before the host": "http://example.org\\@10.0.0.1/",
    "dots of another script": "http://10\u30020\u30020\u30021/",
    "digits of another script": "http://\u2460\u2461.0.0.1/",
    "percent-encoded host": "http://%31%30.0.0.1/",
    "space before": " http://10.0.0.1/",
    "line break within": "http://exa\nmple.org/",
    "request split by the path": "http://93.184.215.14/\r\nX-Evil: 1",
    "file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:5432/_x",
    "script": "javascript:alert(1)",
    "LDAP": "ldap://127.0.0.1/",
    "no scheme": "//10.0.0.1/",
    "port 0": "http://93.184.215.14:0/",
    "port 65536": "http://93.184.215.14:65536/",
    "fragment": "http://93.184.215.14/#x",
    "3,000 characters": "http://93.184.215.14/" + "x" * 3000,
    "NUL": "http://93.184.215.14/\0",
    "an object": "{'url': 1}",
}


def hook(url: str) -> Attack:
    return post("/webhooks", {"url": url, "events": ["*"], "enabled": False})


def name(*addresses: str, then: tuple[str, ...] | None = None) -> Attack:
    """A webhook at a name of the attacker's, which stands for ``addresses`` when it is made, and for ``then`` when it is called."""

    def attack(target: Target) -> Answer | str:
        target.names.write_text(json.dumps({"rebind.example": addresses}))
        made = hook("http://rebind.example/")(target)
        if isinstance(made, str) or made.status != 201:
            return made
        target.names.write_text(json.dumps({"rebind.example": then}))
        path = f"/webhooks/{made.json['id']}"
        called = target.ask("POST", f"{path}/test")
        target.ask("DELETE", path)
        return called if called.status != 200 or called.json["status"] is not None else "not called"

    return attack


ROWS = [
    *rows("SSRF", *((url, hook(url), "422 url") for url in SPELLINGS)),
    *rows("SSRF", *((what, hook(url), "422 url") for what, url in ODD.items())),
    *rows(
        "SSRF",
        ("another address for a webhook that is", ask("PATCH", "/webhooks/$HOOK", {"url": "http://169.254.169.254/"}), "422 url"),
        ("name of a private address", name("10.0.0.1"), "422 url"),
        ("name of a public and a private address", name("93.184.215.14", "127.0.0.1"), "422 url"),
        ("name of the metadata service", name("169.254.169.254"), "422 url"),
        ("name of a mapped address", name("::ffff:10.0.0.1"), "422 url"),
    ),
    *rows(
        "DNS rebinding",
        ("to loopback after the check", name("93.184.215.14", then=("127.0.0.1",)), "not called"),
        ("to the metadata service after the check", name("93.184.215.14", then=("169.254.169.254",)), "not called"),
        ("to a mix after the check", name("93.184.215.14", then=("93.184.215.14", "::1")), "not called"),
        may_change=None,
    ),
    *rows(
        "DNS rebinding",
        ("a foreign name in Host", lambda t: t.send("GET", "/runs", headers={"Host": "rebind.example"}), "400"),
        ("a foreign name in Host, with our port", lambda t: t.send("GET", "/runs", headers={"Host": f"rebind.example:{t.port}"}), "400"),
    ),
]
