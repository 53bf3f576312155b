"""One leader among processes: taken over when its session ends, or when it lets its lease run out; late writes are refused."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from mlsys import errors
from mlsys.execution.leader import Leader
from mlsys.registry.unit_of_work import Units

SHORT = 0.4


@pytest.fixture
def make(engine: sa.Engine) -> Iterator[Callable[[], Leader]]:
    made: list[Leader] = []

    def one() -> Leader:
        made.append(Leader(engine=engine, lease_seconds=SHORT))
        return made[-1]

    yield one
    for leader in made:
        leader.stop()


def roles(*leaders: Leader) -> list[Any]:
    return [leader.health()["role"] for leader in leaders]


def test_leader__is_one_of_many_and_the_next_has_a_higher_epoch(make: Callable[[], Leader]) -> None:
    first, second, third = make(), make(), make()
    for leader in (first, second, third):
        leader.beat()
    assert roles(first, second, third) == ["leader", "standby", "standby"]
    epoch = first.epoch
    assert epoch is not None
    first.stop()
    third.beat()
    second.beat()
    assert roles(first, second, third) == ["standby", "standby", "leader"]
    assert third.epoch == epoch + 1


def test_leader__that_starts_at_the_same_time_as_others_is_one(make: Callable[[], Leader]) -> None:
    leaders = [make() for _ in range(4)]
    threads = [threading.Thread(target=leader.beat) for leader in leaders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(roles(*leaders)) == ["leader", "standby", "standby", "standby"]


def test_leader__that_lost_its_session_stands_by_and_may_lead_again(make: Callable[[], Leader], engine: sa.Engine) -> None:
    first, second = make(), make()
    first.beat()
    with engine.begin() as connection:
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()")
        )
    with pytest.raises(errors.DatabaseUnavailable):
        first.beat()
    assert roles(first) == ["standby"]
    second.beat()
    first.beat()
    assert roles(first, second) == ["standby", "leader"]


def test_leader__that_stands_still_past_its_lease_is_replaced_and_its_late_write_refused(make: Callable[[], Leader], units: Units) -> None:
    frozen, other = make(), make()
    frozen.beat()
    stale = frozen.epoch
    assert stale is not None
    with units() as unit:
        unit.guard(stale)
        unit.models.define("before", {"a": 1})
        unit.commit()
    other.beat()
    assert roles(other) == ["standby"], "the lease has not run out"
    time.sleep(SHORT + 0.1)
    for _ in range(3):  # seen, seen again and ended, taken
        other.beat()
        time.sleep(0.05)
    assert roles(other) == ["leader"]
    assert other.epoch == stale + 1
    assert frozen.epoch == stale, "it knows nothing yet"
    with units() as unit, pytest.raises(errors.Fenced):
        unit.guard(stale)
    with units() as unit:
        assert unit.models.definition("before") == {"a": 1}
    with pytest.raises(errors.DatabaseUnavailable):
        frozen.beat()
    assert roles(frozen) == ["standby"]


def test_leader__another_begins_only_after_a_guarded_transaction_has_ended(make: Callable[[], Leader], units: Units) -> None:
    first, second = make(), make()
    first.beat()
    assert first.epoch is not None
    with units() as unit:
        unit.guard(first.epoch)
        first.beat()  # renewing waits for nobody
        first.stop()
        taking = threading.Thread(target=second.beat)
        taking.start()
        taking.join(0.3)
        assert second.epoch is None
        unit.models.define("written", {"a": 1})
        unit.commit()
    taking.join(10)
    assert roles(second) == ["leader"]
    with units() as unit:
        assert unit.models.definition("written") == {"a": 1}
