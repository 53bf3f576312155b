"""A folder that tells when anything on this machine opens what is in it: the kernel's word (inotify), for Arrow and PostgreSQL too."""

import ctypes
import os
import struct
from pathlib import Path

_IN_ACCESS, _IN_OPEN, _IN_NONBLOCK = 0x1, 0x20, 0o4000
_HEAD = struct.Struct("iIII")


class Canary:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> "Canary":
        self._file = self._libc.inotify_init1(_IN_NONBLOCK)
        if self._libc.inotify_add_watch(self._file, bytes(self._folder), _IN_ACCESS | _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify does not watch", str(self._folder))
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def touched(self) -> list[str]:
        """Names of what was opened or read since the last call; empty: the folder itself."""
        try:
            data = os.read(self._file, 1 << 16)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            length = _HEAD.unpack_from(data, at)[3]
            found.append(data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0").decode())
            at += _HEAD.size + length
        return found
