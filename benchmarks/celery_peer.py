"""Celery beside mlsys in bench_runs.py: a worker of two processes, with a Redis that keeps nothing as broker and for the results.

``pip install celery redis`` into an environment of your own, and redis-server on the PATH; ``missing`` names what is not there.
``celery_peer.py PORT`` is the worker.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from harness import ROOT, free_port


def missing() -> str:
    absent = [name for name in ("celery", "redis") if importlib.util.find_spec(name) is None]
    return ", ".join([*absent, *([] if shutil.which("redis-server") else ["redis-server"])])


def make_app(port: int) -> Any:
    from celery import Celery

    url = f"redis://127.0.0.1:{port}/0"
    app = Celery("peer", broker=url, backend=url)
    app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=64)
    app.task(nothing, name="nothing")
    return app


def nothing() -> None:
    pass


@contextmanager
def bursts(home: Path) -> Iterator[Callable[[int], None]]:
    """What is yielded submits so many tasks that do nothing, and returns when all are done."""
    home.mkdir()
    port = free_port()
    with (home / "log").open("wb") as log:
        redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(home)]
        started = [subprocess.Popen(redis, stdout=log, stderr=log)]
        try:
            _answers(port)
            started.append(subprocess.Popen([sys.executable, __file__, str(port)], cwd=ROOT / "benchmarks", stdout=log, stderr=log))
            task = make_app(port).tasks["nothing"]
            task.delay().get(timeout=60)

            def burst(number: int) -> None:
                for result in [task.delay() for _ in range(number)]:
                    result.get(timeout=120)

            yield burst
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(20)


def _answers(port: int) -> None:
    from redis import Redis
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    with closing(Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200))) as client:
        client.ping()


if __name__ == "__main__":
    os.environ.setdefault("C_FORCE_ROOT", "1")
    make_app(int(sys.argv[1])).worker_main(["worker", "--concurrency=2", "--loglevel=error", "--without-gossip", "--without-mingle"])
