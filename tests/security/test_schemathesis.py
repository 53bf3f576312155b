"""schemathesis over the OpenAPI document: whatever is asked, no answer is a 5xx, and none is one that the document does not know.

In a test run every case of its coverage phase, and few random ones by a fixed seed. By hand, as many as you like:
``MLSYS_FUZZ_EXAMPLES=200 pytest -s tests/security/test_schemathesis.py``.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pytest
import serving
from serving import Served

HERE = Path(__file__).parent
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
MODELS = {"quick": front.definition()}
SCHEDULE = {"kind": "train", "model_name": "quick", "cron": "@yearly", "window": {"start": "-P30D", "end": "PT0S"}, "enabled": False}


@pytest.fixture(scope="module")
def served(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With one of everything."""
    folder = tmp_path_factory.mktemp("fuzzed")
    front.hourly().to_parquet(folder / "hourly.parquet")
    front.configure(folder, MODELS)
    url = embedded_server.clone()
    settings = {"DATABASE__URL": url, "WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1", "EXECUTION__MAX_ATTEMPTS": "1"}
    given = {f"MLSYS_{name}": value for name, value in settings.items()}
    with serving.serve(folder / "home", config=folder / "config.yaml", data=folder, **given) as found:
        found.run("/job/train", front.TRAIN)
        found.run("/job/predict", front.PREDICT)
        found.call("POST", "/datasets", {"name": "site", "timestamp": "time", "columns": {"power": "number"}})
        found.call("POST", "/schedules", {"name": "yearly", **SCHEDULE})
        found.call("POST", "/webhooks", {"url": "http://127.0.0.1:1/", "events": ["webhook.*"]})
        yield found
    embedded_server.drop(url)


def known(served: Served) -> dict[str, str]:
    runs = served.call("GET", "/runs?kind=train").body["items"]
    hooks = served.call("GET", "/webhooks").body["items"]
    version = runs[-1]["result"]["model_version_id"]
    return {"runs": runs[-1]["id"], "webhooks": hooks[-1]["id"], "model_version_id": version}


def test_document__is_kept_to_whatever_is_asked(served: Served, tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    if not tool.exists():
        pytest.skip("schemathesis is not installed (extra: test)")
    settings = (HERE / "schemathesis.toml").read_text()
    if examples := os.environ.get("MLSYS_FUZZ_EXAMPLES"):
        settings = re.sub(r"max-examples = \d+", f"max-examples = {int(examples)}", settings)
    (tmp_path / "schemathesis.toml").write_text(settings)
    words = ["run", f"{served.url}/openapi.json", "--seed", "1", "--checks", CHECKS]
    environment = {**os.environ, "MLSYS_FUZZED": json.dumps(known(served)), "PYTHONPATH": str(HERE.parent)}
    given = [tool, "--config-file", "schemathesis.toml", *words, "--no-color", "--no-shrink", "--generation-database", "none"]
    found = subprocess.run(given, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    sys.stdout.write(found.stdout[-3000:])
    assert found.returncode == 0, found.stdout[-12_000:] + found.stderr[-2000:]
    assert served.process.poll() is None
    assert "Traceback" not in served.log.read_text()
