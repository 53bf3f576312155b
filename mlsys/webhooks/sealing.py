"""Secrets as they lie in the database: encrypted by a key that does not. Fernet (AES-128-CBC with HMAC) from cryptography does it."""

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from mlsys import errors
from mlsys.registry.webhooks import Sealed
from mlsys.storage import durable

NAME = "webhooks.key"
LOST = (
    f"The secret was encrypted by another key than this process has. Put {NAME} back into the home, or give all processes the "
    "webhooks.secret_key that it was made with; or make a new secret: POST /webhooks/ID/rotate."
)


class Sealer:
    """``key``: of the configuration; empty: the one in ``folder``, made there when first needed. Nothing is read before that."""

    def __init__(self, *, folder: Path, key: str = "") -> None:
        self._folder = folder
        self._given = key
        self._made: Fernet | None = None
        self._id = ""
        self._mutex = threading.Lock()
        self._decrypted = lru_cache(maxsize=1024)(self._decrypt)  # a delivery needs it each time

    @property
    def key_id(self) -> str:
        """Tells keys apart, and nothing about them. Raises ConfigError for a key that cannot be used."""
        self._fernet()
        return self._id

    def seal(self, text: str) -> Sealed:
        return Sealed(text=self._fernet().encrypt(text.encode()).decode(), key_id=self._id)

    def open(self, sealed: Sealed) -> str:
        """Raises LostKey when another key sealed it."""
        return self.open_all([sealed])[0]

    def open_all(self, sealed: Iterable[Sealed]) -> Sequence[str]:
        """Those that this key sealed. Raises LostKey when there is none."""
        found = [self._decrypted(each.text) for each in sealed if each.key_id == self.key_id]
        if not found:
            raise errors.LostKey(LOST)
        return found

    def _decrypt(self, text: str) -> str:
        try:
            return self._fernet().decrypt(text.encode()).decode()
        except InvalidToken:
            raise errors.LostKey(LOST) from None

    def _fernet(self) -> Fernet:
        with self._mutex:
            if self._made is None:
                key = (self._given or self._from_file()).encode()
                try:
                    self._made = Fernet(key)
                except ValueError:
                    raise errors.ConfigError(
                        f"{self._source()} is no key: 32 bytes in URL-safe base64, as cryptography's Fernet makes."
                    ) from None
                self._id = hashlib.sha256(key).hexdigest()[:12]
            return self._made

    def _source(self) -> str:
        return "webhooks.secret_key" if self._given else NAME

    def _from_file(self) -> str:
        path = self._folder / NAME
        try:
            if not path.exists():
                self._make(path)
            if path.stat().st_mode & 0o077:
                raise errors.ConfigError(f"{NAME} in the home can be read by others than its owner: chmod 600 it.")
            return path.read_text().strip()
        except OSError as error:
            raise errors.ConfigError(f"{NAME} in the home cannot be read or made ({error.strerror}).") from None

    def _make(self, path: Path) -> None:
        """Whole or not at all, and never over one that another process has just made."""
        hidden = path.with_name(f".{NAME}.{secrets.token_hex(4)}")
        with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(hidden, path)
        hidden.unlink()
        durable.sync_folder(path.parent)
