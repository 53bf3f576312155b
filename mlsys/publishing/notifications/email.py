"""Notifications by e-mail, over a mail server of the user's."""

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal

from mlsys import errors
from mlsys.publishing.notifications.base import USUAL, Notification

_SECONDS = 30


class Email(Notification):
    """``security``: starttls, tls (from the first byte), or none for a mail server on this machine. ``port``: by default 587, 465 or 25."""

    def __init__(
        self,
        *,
        base_url: str,
        host: str,
        sender: str,
        recipients: Sequence[str],
        port: int | None = None,
        security: Literal["starttls", "tls", "none"] = "starttls",
        username: str | None = None,
        password: str | None = None,
        events: Sequence[str] = USUAL,
        model_name: str | None = None,
    ) -> None:
        super().__init__(base_url=base_url, events=events, model_name=model_name)
        if not recipients:
            raise errors.Invalid({"recipients": "Name at least one address."})
        if username is not None and security == "none":
            raise errors.Invalid({"security": "A password is not sent in the clear: use starttls or tls."})
        self._host = host
        self._port = port or {"starttls": 587, "tls": 465, "none": 25}[security]
        self._security = security
        self._login = None if username is None else (username, password or "")
        self._sender = sender
        self._recipients = tuple(recipients)

    def deliver(self, subject: str, text: str) -> None:
        """Raises OSError (smtplib's errors are such) also when only some of the recipients were refused: the others get it twice, then."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, self._sender, ", ".join(self._recipients)
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="mlsys")
        message["Auto-Submitted"] = "auto-generated"  # no answering machine answers it
        message.set_content(text)
        with self._connected() as server:
            if self._login is not None:
                server.login(*self._login)
            if refused := server.send_message(message, self._sender, self._recipients):
                raise smtplib.SMTPRecipientsRefused(refused)

    def _connected(self) -> smtplib.SMTP:
        if self._security == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=_SECONDS, context=ssl.create_default_context())
        server = smtplib.SMTP(self._host, self._port, timeout=_SECONDS)
        if self._security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server
