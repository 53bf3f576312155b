import pytest

from mlsys.api.jobs import preferred_wait


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 0),
        (["wait=5"], 5),
        (["wait=60"], 60),
        (["wait=61"], 60),
        (["wait=" + "9" * 5000], 60),
        (["WAIT = 7"], 7),
        (['wait="7"'], 7),
        (["respond-async, wait=3"], 3),
        (["respond-async", "wait=3;strict"], 3),
        (["wait=0"], 0),
        (["wait=abc"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=٣"], 0),
        (["wait"], 0),
        (["", ";;,,=", "waiting=4"], 0),
        (["wait=abc, wait=4"], 4),
    ],
)
def test_preferred_wait__reads_what_it_can_and_ignores_the_rest(headers: list[str], seconds: int) -> None:
    assert preferred_wait(headers) == seconds
