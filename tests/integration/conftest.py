"""One running system a module, for the tests that only ask it questions."""

from collections.abc import Iterator
from typing import Any

import pytest

import front

MODELS = {
    "quick": front.definition(),
    "naive": front.definition(model={"type": "seasonal_naive"}),
    "idle": front.definition(timezone="Europe/Amsterdam"),
    "dated": front.definition(created_at="known"),
}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[front.World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("world"), url, MODELS) as found:
        yield found
    embedded_server.drop(url)
