"""Notifications to a chat, by an incoming webhook as Slack, Mattermost, Rocket.Chat and others have them."""

import json
from collections.abc import Callable, Mapping, Sequence

from mlsys import errors
from mlsys.publishing.notifications.base import USUAL, Notification

_MOST = 35_000  # Slack refuses texts of more than 40,000 characters


class Slack(Notification):
    """``url``: the incoming webhook, which is a secret. A chat server in your own network must be named in webhooks.allowed_hosts."""

    def __init__(
        self,
        *,
        base_url: str,
        post: Callable[[str, bytes, Mapping[str, str]], int],
        url: str,
        events: Sequence[str] = USUAL,
        model_name: str | None = None,
    ) -> None:
        super().__init__(base_url=base_url, events=events, model_name=model_name)
        self._post = post
        self._url = url

    def deliver(self, subject: str, text: str) -> None:
        """Raises Unanswered (RefusedAddress among it) also for any status but 2xx."""
        told = f"*{_plain(subject)}*\n{_plain(text)}"[:_MOST]
        status = self._post(self._url, json.dumps({"text": told}).encode(), {"Content-Type": "application/json"})
        if not 200 <= status < 300:
            raise errors.Unanswered(f"The chat server answered {status}.")


def _plain(text: str) -> str:
    """Names of users shall not become mentions or links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
