"""``python audited.py JOURNAL NAMES WORDS..``: mlsys with WORDS, watched from within, in a network whose names the attacker answers for.

JOURNAL gets a line of JSON for each file that Python code opens, each connection, process and name that is asked for. NAMES is a file of
JSON, {host name: [addresses]}, read anew at each look-up: a DNS server that changes its mind.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

_TOLD = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.remove",
    "os.rename",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.exec",
}
_TOLD |= {"os.system", "os.posix_spawn", "pickle.find_class"}


def watch(journal: Path) -> None:
    """Cannot be undone: no code of the process can take an audit hook away."""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in _TOLD:
            os.write(file, json.dumps([event, *map(str, given[:2])]).encode() + b"\n")

    sys.addaudithook(hook)


def rename(names: Path) -> None:
    """Puts the attacker's names before the system's."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *given: Any, **more: Any) -> Any:
        found = json.loads(names.read_text()).get(host)
        if found is None:
            return real(host, port, *given, **more)
        return [entry for address in found for entry in real(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]

    socket.getaddrinfo = getaddrinfo


if __name__ == "__main__":
    journal, names = (Path(sys.argv.pop(1)) for _ in range(2))
    watch(journal)
    rename(names)
    from mlsys.cli import main

    main()
