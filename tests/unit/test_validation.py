from typing import Any

import numpy as np
import pytest

from mlsys.pipelines import settings, validation
from mlsys.records import Validation, Verdict

GATE = settings.gate_defaults()
CHANCE = np.random.default_rng(5)
NAIVE = CHANCE.uniform(2, 3, 28)


def evaluation(*, candidate: float = 0.7, champion: float | None = None, days: int = 28, rows: int = 96, **changes: Any) -> dict[str, Any]:
    """Daily errors as multiples of the naive ones, with 5 % of independent noise each."""
    noisy = {
        who: (NAIVE[:days] * size * CHANCE.uniform(0.95, 1.05, days)).tolist() for who, size in (("a", candidate), ("b", champion or 1))
    }
    usual = {
        "holdout": {"start": "2021-01-01", "end": "2021-01-29"},
        "days": [f"2021-01-{i + 1:02}" for i in range(days)],
        "rows": [rows] * days,
        "expected_rows": 96 * days,
        "candidate": noisy["a"],
        "naive": NAIVE[:days].tolist(),
        "champion": None if champion is None else noisy["b"],
        "champion_id": None if champion is None else "champion",
        "champion_note": "",
        "bias": 0.1,
        "target_level": 5.0,
    }
    return {**usual, **changes}


def judge(of: dict[str, Any], *, champion: str | None = None, **changes: Any) -> Validation:
    return validation.judge(of, {**GATE, **changes}, champion_expected=champion)


def failed(of: Validation) -> set[str]:
    return {check.name for check in of.checks if not check.passed}


def test_judge__accepts_a_first_model_that_beats_naive() -> None:
    found = judge(evaluation())
    assert (found.decision, failed(found)) == ("accepted", set())


def test_judge__a_first_model_must_win_by_a_margin_and_a_later_one_need_not() -> None:
    near = evaluation(candidate=0.97, champion=0.97)
    assert judge(near | {"champion": None, "champion_id": None}).decision == "rejected"
    assert judge(near, champion="champion").decision == "accepted"


def test_judge__rejects_what_is_worse_than_naive() -> None:
    found = judge(evaluation(candidate=1.1, champion=1.1), champion="champion")
    assert (found.decision, failed(found)) == ("rejected", {"better_than_naive"})


@pytest.mark.parametrize(("candidate", "decision"), [(0.65, "accepted"), (0.72, "accepted"), (0.85, "rejected")])
def test_judge__holds_a_candidate_against_the_champion(candidate: float, decision: str) -> None:
    found = judge(evaluation(candidate=candidate, champion=0.7), champion="champion")
    assert found.decision == decision
    assert failed(found) == (set() if decision == "accepted" else {"not_worse_than_champion", "not_worse_than_best"})


def test_judge__too_few_days_cannot_be_judged() -> None:
    found = judge(evaluation(days=19, champion=0.7), champion="champion")
    assert (found.decision, failed(found)) == ("cannot_judge", {"scored_days"})
    assert "not_worse_than_champion" in {check.name for check in found.checks}


def test_judge__too_many_missing_rows_cannot_be_judged() -> None:
    assert failed(judge(evaluation(rows=70))) == {"coverage"}
    assert judge(evaluation(rows=70)).decision == "cannot_judge"
    assert judge(evaluation(rows=70), min_coverage=0.7).decision == "accepted"


def test_judge__a_champion_that_saw_the_holdout_cannot_be_compared() -> None:
    found = judge(evaluation() | {"champion_id": "champion", "champion_note": "its twin was trained up to then"}, champion="champion")
    assert (found.decision, failed(found)) == ("cannot_judge", {"champion_comparable"})
    assert "its twin was trained up to then" in [check.detail for check in found.checks]


def test_judge__a_champion_that_changed_meanwhile_cannot_be_compared() -> None:
    assert judge(evaluation(champion=0.7), champion="another").decision == "cannot_judge"
    assert judge(evaluation(), champion="another").decision == "cannot_judge"


def test_judge__a_champion_that_went_away_meanwhile_leaves_a_first_model() -> None:
    assert judge(evaluation(champion=0.1), champion=None).decision == "accepted"


def earlier(*sizes: float | None) -> list[dict[str, Any]]:
    """Champions before the present one, with errors as multiples of the naive ones; None: not comparable."""
    return [
        {"model_version_id": f"old{i}", "errors": None if size is None else (NAIVE * size).tolist(), "note": "gone" if size is None else ""}
        for i, size in enumerate(sizes)
    ]


def test_judge__holds_a_candidate_against_the_best_of_the_last_champions() -> None:
    of = evaluation(candidate=0.74, champion=0.72)
    assert judge(of, champion="champion").decision == "accepted"
    assert judge(of | {"earlier": earlier(0.9, None, 0.71)}, champion="champion").decision == "accepted"
    found = judge(of | {"earlier": earlier(0.9, None, 0.6)}, champion="champion")
    assert (found.decision, failed(found)) == ("rejected", {"not_worse_than_best"})
    detail = next(check.detail for check in found.checks if check.name == "not_worse_than_best")
    assert "best of 3, old2," in detail
    assert "old1 not compared: gone" in detail
    assert judge(of | {"earlier": earlier(0.6)}, champion="champion", max_ratio_best=1.5).decision == "accepted"
    assert judge(of | {"earlier": earlier(0.6)}, champion="champion", max_ratio=1.5).decision == "accepted"


def test_judge__faulty_data_comes_first() -> None:
    fault = Verdict(name="revised_level", passed=False, value=0.15, threshold=0.02, ground=True)
    found = validation.judge(evaluation(), GATE, champion_expected=None, data=[fault])
    assert (found.decision, failed(found)) == ("cannot_judge", {"revised_level"})
    assert {"better_than_naive", "bias"} <= {check.name for check in found.checks}
    warning = Verdict(name="gaps", passed=False, blocking=False)
    assert validation.judge(evaluation(), GATE, champion_expected=None, data=[warning]).decision == "accepted"


@pytest.mark.parametrize(
    ("below", "value", "passed"),
    [
        ({"quantile_P10": 0.08, "quantile_P50": 0.2, "quantile_P90": 0.9}, 0.02, True),
        ({"quantile_P10": 0.02, "quantile_P90": 0.92}, 0.1, False),
        ({"quantile_P10": 0.2, "quantile_P90": 0.9}, -0.1, False),
        ({"quantile_P50": 0.6}, 0.1, False),
        ({"quantile_P50": 0.45, "quantile_P75": 0.7}, -0.05, True),
    ],
)
def test_judge__quantiles_cover_what_they_say(below: dict[str, float], value: float, passed: bool) -> None:
    found = judge(evaluation(quantiles={"rows": 1300, "below": below}))
    check = next(check for check in found.checks if check.name == "quantile_coverage")
    assert (check.value, check.passed) == (pytest.approx(value), passed)
    assert check.threshold == pytest.approx(0.08 + 0.016, abs=0.002)
    assert check.data is not None
    assert check.data["rows"] == 1300
    assert found.decision == ("accepted" if passed else "rejected")


def test_judge__rows_that_equal_an_end_of_the_interval_may_be_inside() -> None:
    """Zeros outside of opening hours: forecast as 0 by every quantile."""
    quantiles = {"rows": 1300, "below": {"quantile_P10": 0.55, "quantile_P90": 0.95}, "under": {"quantile_P10": 0.05, "quantile_P90": 0.45}}
    found = judge(evaluation(quantiles=quantiles))
    (check,) = (check for check in found.checks if check.name == "quantile_coverage")
    assert (check.passed, check.value, found.decision) == (True, 0.0, "accepted")


@pytest.mark.parametrize(("rows", "inside", "passed"), [(1, 19, True), (1, 14, False), (96, 19, True), (96, 15, False)])
def test_judge__few_days_show_less_of_a_coverage_than_many(rows: int, inside: int, passed: bool) -> None:
    """28 days, of which ``inside`` lie wholly within an interval of 80 %: of 19 chance may be the reason, of 14 not."""
    days = {"rows": [rows] * 28, "quantile_P10": [0] * 28, "quantile_P90": [rows] * inside + [0] * (28 - inside)}
    below = {"quantile_P10": 0.0, "quantile_P90": inside / 28}
    found = judge(evaluation(quantiles={"rows": rows * 28, "below": below, "under": below, "by_day": days}))
    (check,) = (check for check in found.checks if check.name == "quantile_coverage")
    assert check.passed is passed, check


def test_judge__settings_that_an_older_definition_does_not_name_have_their_defaults() -> None:
    of = evaluation()
    assert validation.judge(of, {}, champion_expected=None) == judge(of)


def test_judge__bias_only_warns() -> None:
    found = judge(evaluation(bias=-1.0))
    assert (found.decision, failed(found)) == ("accepted", {"bias"})


def test_judge__records_every_number_accepted_or_not() -> None:
    for found in (
        judge(evaluation(candidate=0.7, champion=0.7), champion="champion"),
        judge(evaluation(candidate=2, champion=0.7), champion="champion"),
    ):
        assert {c.name for c in found.checks} == {
            "scored_days", "coverage", "champion_comparable", "better_than_naive", "not_worse_than_champion", "not_worse_than_best",
            "bias",
        }  # fmt: skip
        assert all(c.value is not None and c.threshold is not None and c.detail for c in found.checks)
        assert all(c.data == {"start": "2021-01-01", "end": "2021-01-29", "days": 28, "rows": 2688} for c in found.checks)


def test_judge__is_the_same_each_time() -> None:
    of = evaluation(candidate=0.72, champion=0.7)
    assert judge(of, champion="champion") == judge(of, champion="champion")


def test_judge__nothing_scored_is_no_crash() -> None:
    assert judge(evaluation(days=0, champion=0.7), champion="champion").decision == "cannot_judge"


def test_upper_ratio__grows_with_confidence_and_holds_the_plain_ratio() -> None:
    champion = CHANCE.uniform(1, 2, 28)
    candidate = champion * CHANCE.uniform(0.9, 1.3, 28)
    bounds = [validation.upper_ratio(candidate, champion, draws=1000, block_days=3, confidence=c, seed=0) for c in (0.5, 0.9, 0.99)]
    assert bounds == sorted(bounds)
    assert bounds[0] == pytest.approx(candidate.mean() / champion.mean(), abs=0.03)
    assert bounds[0] < bounds[1]


def test_upper_ratio__a_perfect_champion_is_only_equalled_by_another() -> None:
    options = {"draws": 100, "block_days": 3, "confidence": 0.9, "seed": 0}
    assert validation.upper_ratio(np.zeros(28), np.zeros(28), **options) == 1
    assert validation.upper_ratio(np.ones(28), np.zeros(28), **options) == np.inf
