"""A subscriber as its author would write it: python receiver.py PORT SECRET LOG. Appends a line of JSON for each message."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

PORT, SECRET, LOG = sys.argv[1:]
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told: dict[str, Any] = {"id": self.headers["webhook-id"]}
        try:
            told |= {"sequence": Webhook(SECRET).verify(body, dict(self.headers))["sequence"], "ok": True}
        except WebhookVerificationError as error:
            told |= {"error": str(error), "ok": False}
        with LOCK, open(LOG, "a") as log:
            log.write(json.dumps(told) + "\n")
        self.send_response(204 if told["ok"] else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
