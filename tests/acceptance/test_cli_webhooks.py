"""``mlsys webhooks`` against a running server."""

import json
import subprocess
from pathlib import Path

import front
import receivers
import serving


def test_webhooks__from_the_terminal(tmp_path: Path) -> None:
    place = {"home": tmp_path / "home", "config": front.configure(tmp_path, {}), "data": tmp_path}

    def mlsys(*words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        found = serving.cli("webhooks", *words, **place)
        assert found.returncode == code, found.stdout + found.stderr
        assert "Traceback" not in found.stderr
        return found

    with serving.serve(**place, MLSYS_WEBHOOKS__ALLOWED_HOSTS="127.0.0.1") as served, receivers.receiving() as receiver:
        assert "No webhooks" in mlsys("list").stdout
        assert "--event" in mlsys("add", receiver.url, code=2).stderr
        assert "webhooks.allowed_hosts" in mlsys("add", "http://127.0.0.2/", "--event", "*", code=2).stderr
        made = json.loads(mlsys("add", receiver.url, "--event", "data.*", "--description", "ours", "--json").stdout)
        id = made["id"]
        assert made["secret"].startswith("whsec_")
        assert "answered 204" in mlsys("test", id).stdout
        served.call("POST", "/datasets", {"name": "site", "timestamp": "time"})
        served.call("POST", "/datasets/site/rows", [{"time": "2020-01-01T00:00:00Z", "power": 1.0}])
        serving.until(lambda: len(receiver.got) == 2)
        shown = serving.until(lambda: "delivered" in (text := mlsys("show", id).stdout.replace("last delivered", "")) and text)
        assert "data.appended" in shown
        assert "1 events" in mlsys("replay", id, "--after", "0").stdout
        serving.until(lambda: len(receiver.got) == 3)
        assert "whsec_" in mlsys("rotate", id).stdout
        assert "(paused)" in mlsys("change", id, "--pause").stdout
        assert "not enabled" in mlsys("replay", id, "--after", "0", code=1).stderr
        assert "(enabled)" in mlsys("change", id, "--enable", "--event", "model.*").stdout
        mlsys("remove", id)
        assert "no webhook" in mlsys("show", id, code=2).stderr
    assert [one.headers["webhook-id"] for one in receiver.got][1:] == ["evt_1", "evt_1"]
