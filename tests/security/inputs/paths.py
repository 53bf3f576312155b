"""Paths: ways out of the data roots, in the body of a job and in the address."""

import os
from collections.abc import Callable
from pathlib import Path

import front
import serving

from security.table import A_RUN, Attack, ended, get, post, rows, send
from security.target import Answer, Target


def read(path: str) -> Attack:
    return post("/job/train", front.TRAIN | {"file_path": path, "promote": "never"})


def predict(path: str) -> Attack:
    return post("/job/predict", front.PREDICT | {"file_path": path})


def swapped(swap: Callable[[Path, Target], None]) -> Attack:
    """The file is good when it is asked for, and something else once a worker gets there: the only worker is busy until then."""

    def attack(target: Target) -> Answer | str:
        file = target.data / "brief.parquet"
        file.write_bytes((target.data / "hourly.parquet").read_bytes())
        busy = target.ask("POST", "/job/train", front.TRAIN | {"params": {"num_iterations": 3000}, "promote": "never"}).json["id"]
        serving.until(lambda: target.ask("GET", f"/runs/{busy}").json["status"] == "running")
        answer = read("brief.parquet")(target)
        file.unlink()
        swap(file, target)
        target.ask("POST", f"/runs/{busy}/cancel")
        target.ended(busy)
        try:
            return ended(lambda _: answer)(target)
        finally:
            file.unlink()

    return attack


ROWS = [
    *rows(
        "paths",
        ("up", read("../outside/secret.parquet"), "422 file_path"),
        ("up, in the middle", read("mixed/../../outside/secret.parquet"), "422 file_path"),
        ("up, for a prediction", predict("../outside/secret.parquet"), "422 file_path"),
        ("percent-encoded", read("%2e%2e%2foutside%2fsecret.parquet"), "422 file_path"),
        ("percent-encoded twice", read("%252e%252e%252foutside%252fsecret.parquet"), "422 file_path"),
        ("overlong UTF-8", read("\u00c0\u00ae\u00c0\u00ae\u00c0\u00afoutside/secret.parquet"), "422 file_path"),
        ("full-width dots and slash", read("\uff0e\uff0e\uff0foutside\uff0fsecret.parquet"), "422 file_path"),
        ("backslashes", read("..\\outside\\secret.parquet"), "422 file_path"),
        ("four dots, a filter's leftovers", read("....//outside/secret.parquet"), "422 file_path"),
        ("16-bit percent code", read("%u002e%u002e/outside/secret.parquet"), "422 file_path"),
        ("dot segments that stay inside", read("mixed/../hourly.parquet"), "422 file_path"),
        ("absolute, outside", read("$OUTSIDE/secret.parquet"), "422 file_path"),
        ("absolute, with a way back", read("$DATA/../outside/secret.parquet"), "422 file_path"),
        ("two slashes in front", read("/$OUTSIDE/secret.parquet"), "422 file_path"),
        ("sibling with the root's prefix", read("$DATA-sibling/secret.parquet"), "422 file_path"),
        ("link to a file outside", read("link.parquet"), "422 file_path"),
        ("link to a folder outside", read("linked/secret.parquet"), "422 file_path"),
        ("link to a folder outside, as a folder", read("linked"), "422 file_path"),
        ("folder that holds a link", read("mixed"), "422 file_path"),
        ("link to itself", read("round.parquet"), "422 file_path"),
        ("link to a device", read("device.parquet"), "422 file_path"),
        ("device", read("/dev/zero"), "422 file_path"),
        ("terminal", read("/dev/stdin"), "422 file_path"),
        ("FIFO, which would never end", read("pipe.parquet"), "422 file_path"),
        ("environment of the process", read("/proc/self/environ"), "422 file_path"),
        ("file by its descriptor", read("/proc/self/fd/0"), "422 file_path"),
        ("root by the process", read("/proc/self/root/etc/passwd"), "422 file_path"),
        ("passwords", read("/etc/passwd"), "422 file_path"),
        ("the root itself", read("."), "422 file_path"),
        ("the root by its name", read("$DATA"), "422 file_path"),
        ("NUL at the end", read("hourly.parquet\0"), "422 file_path"),
        ("NUL before another ending", read("../outside/secret.parquet\0.csv"), "422 file_path"),
        ("5,000 characters", read("x" * 5000), "422 file_path"),
        ("5,000 folders", read("x/" * 2000 + "x.parquet"), "422 file_path"),
        ("a name of 300 characters", read("x" * 300), "422 file_path"),
        ("half a surrogate pair", read("\ud800.parquet"), "422 file_path"),
        ("right-to-left mark", read("\u202etqrap.ylruoh"), "422 file_path"),
        ("home of a user", read("~root/.ssh/id_rsa"), "422 file_path"),
        ("variable of a shell", read("$HOME/secret.parquet"), "422 file_path"),
        ("command of a shell", read("`id`;$(id)|id"), "422 file_path"),
        ("pattern", read("*.parquet"), "422 file_path"),
        ("URL of a file", read("file://$OUTSIDE/secret.parquet"), "422 file_path"),
        ("URL of a server", read("http://127.0.0.1:1/x.parquet"), "422 file_path"),
        ("bucket", read("s3://bucket/x.parquet"), "422 file_path"),
        ("zip within a chain of file systems", read("zip://x::http://127.0.0.1:1/"), "422 file_path"),
        ("only spaces", read("   "), "422 file_path"),
        ("a list", post("/job/train", front.TRAIN | {"file_path": ["hourly.parquet"]}), "422 file_path"),
        ("dot segments in the address", get("/datasets/../../../etc/passwd"), "404"),
        ("encoded in the address", get("/datasets/..%2f..%2f..%2fetc%2fpasswd"), "404"),
        ("encoded twice in the address", get("/models/%252e%252e%252fetc"), "404"),
        ("overlong UTF-8 in the address", get("/models/%c0%ae%c0%ae%c0%afetc"), "404"),
        ("NUL in the address", get("/runs/%00"), "422 path"),
        ("static file above", get("/static/../pages.py"), "404"),
        ("static file above, encoded", get("/static/%2e%2e/pages.py"), "404"),
        ("static file, absolute", get("/static//etc/passwd"), "308"),
        ("address that would lead to another server", get("//evil.example/%2f.."), "404"),
        ("static file, backslashes", get("/static/..\\pages.py"), "404"),
        ("absolute address of a proxy", send("GET", "http://169.254.169.254/latest/meta-data/"), "404"),
    ),
    *rows(
        "paths",
        ("link swapped in after the check", swapped(lambda file, t: file.symlink_to(t.outside / "secret.parquet")), "failed invalid"),
        ("device swapped in after the check", swapped(lambda file, t: file.symlink_to("/dev/zero")), "failed invalid"),
        ("FIFO swapped in after the check", swapped(lambda file, t: os.mkfifo(file)), "failed invalid"),
        may_change=A_RUN,
    ),
]
