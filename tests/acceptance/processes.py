"""The real command as a process of its own, its output read as it comes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


class Mlsys:
    """``mlsys ARGUMENTS --home HOME`` in ``folder``. As a context it is killed at the end if it still runs."""

    def __init__(self, *arguments: str, folder: Path, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLSYS_")}
        self.started = time.monotonic()
        self.home = folder / "home"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlsys", *arguments, "--home", str(self.home)],
            cwd=folder,
            env=inherited | {"COLUMNS": "160", "PYTHONUNBUFFERED": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Mlsys":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def output(self) -> str:
        return "".join(line for _, line in self._lines)

    def said(self, text: str, *, within: float = 300.0) -> float:
        """Waits for a line that holds ``text``; returns the seconds from the start of the command to it."""
        while time.monotonic() - self.started < within:
            ended = self._process.poll() is not None and not self._reader.is_alive()
            for at, line in list(self._lines):
                if text in line:
                    return at - self.started
            assert not ended, f"ended without saying {text!r}:\n{self.output}"
            time.sleep(0.05)
        raise AssertionError(f"did not say {text!r} within {within} s:\n{self.output}")

    def url(self) -> str:
        """The address it serves at, as it said."""
        self.said("http://")
        found = re.search(r"http://127\.0\.0\.1:\d+", self.output)
        assert found is not None
        return found[0]

    def end(self, number: int | None = None, *, within: float = 180.0) -> int:
        """The exit code, after a signal if one is given."""
        if number is not None:
            self._process.send_signal(number)
        code = self._process.wait(within)
        self._reader.join()
        return code

    def left_behind(self) -> list[str]:
        """Command lines of processes that still know this home."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.home) in command:
                found.append(command)
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append((time.monotonic(), line))
