"""The gate: may a candidate take the champion's place? A pure function of an evaluation and settings; its numbers are in the verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlsys.records import Validation, Verdict

Floats = npt.NDArray[np.float64]


def judge(evaluation: Mapping[str, Any], settings: Mapping[str, Any], *, champion_expected: str | None) -> Validation:
    """``champion_expected``: the version in production at the moment of decision. ``settings``: a normalised ``validation`` mapping.

    cannot_judge: too little to judge by, or the champion was not scored on unseen days. Else accepted or rejected on error alone.
    """
    grounds = [_days(evaluation, settings), _coverage(evaluation, settings), *_comparable(evaluation, champion_expected)]
    contest = [_skill(evaluation, settings, first=champion_expected is None)]
    if all(ground.passed for ground in grounds) and champion_expected is not None:
        contest.append(_non_inferior(evaluation, settings))
    checks = (*grounds, *contest, _bias(evaluation, settings))
    if not all(ground.passed for ground in grounds):
        return Validation(decision="cannot_judge", checks=checks)
    return Validation(decision="accepted" if all(c.passed for c in contest) else "rejected", checks=checks)


def upper_ratio(candidate: Floats, champion: Floats, *, draws: int, block_days: int, confidence: float, seed: int) -> float:
    """Upper bound of mean(candidate) / mean(champion) over days, by a bootstrap of blocks of consecutive days, the same for both.

    A champion without error cannot be equalled but by another: then 1 if the candidate has none either, else infinity.
    """
    days = len(candidate)
    length = min(block_days, days)
    starts = np.random.default_rng(seed).integers(0, days - length + 1, size=(draws, -(-days // length)))
    chosen = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :days]
    above, below = candidate[chosen].sum(axis=1), champion[chosen].sum(axis=1)
    ratio = np.divide(above, below, out=np.where(above > 0, np.inf, 1.0), where=below > 0)
    return float(np.quantile(ratio, confidence, method="higher"))


def _days(evaluation: Mapping[str, Any], settings: Mapping[str, Any]) -> Verdict:
    count, minimum = len(evaluation["days"]), settings["min_days"]
    detail = f"{count} days were scored" + ("" if count >= minimum else f"; {minimum} are needed to judge: widen the window")
    return Verdict(name="scored_days", passed=count >= minimum, value=count, threshold=minimum, detail=detail)


def _coverage(evaluation: Mapping[str, Any], settings: Mapping[str, Any]) -> Verdict:
    scored, expected, minimum = sum(evaluation["rows"]), evaluation["expected_rows"], settings["min_coverage"]
    share = min(1.0, scored / expected) if expected else 0.0
    detail = f"{scored} of the {expected} rows that the hold-out should have were scored"
    return Verdict(name="coverage", passed=share >= minimum, value=round(share, 4), threshold=minimum, detail=detail)


def _comparable(evaluation: Mapping[str, Any], expected: str | None) -> list[Verdict]:
    """No champion now: nothing to compare with. Another one than was scored, or one that could not be: no ground to judge on."""
    if expected is None:
        return []
    scored = evaluation["champion_id"]
    if scored != expected:
        detail = f"{expected} came into production while this model was trained; train again to compare with it"
    else:
        detail = evaluation["champion_note"] or "scored by its twin, on days that neither has seen"
    passed = scored == expected and evaluation["champion"] is not None
    return [Verdict(name="champion_comparable", passed=passed, value=scored, threshold=expected, detail=detail)]


def _skill(evaluation: Mapping[str, Any], settings: Mapping[str, Any], *, first: bool) -> Verdict:
    minimum = settings["min_skill_first" if first else "min_skill"]
    candidate, naive = _mae(evaluation, "candidate"), _mae(evaluation, "naive")
    skill = 1 - candidate / naive if naive > 0 else (0.0 if candidate == 0 else -1.0)
    passed = skill >= minimum if first else skill > minimum
    detail = f"MAE {candidate:.4g}, seasonal naive {naive:.4g}" + (" (no champion yet)" if first else "")
    return Verdict(name="better_than_naive", passed=passed, value=round(skill, 4), threshold=minimum, detail=detail)


def _non_inferior(evaluation: Mapping[str, Any], settings: Mapping[str, Any]) -> Verdict:
    candidate, champion = np.array(evaluation["candidate"]), np.array(evaluation["champion"])
    options = {name: settings[name] for name in ("draws", "block_days", "confidence", "seed")}
    bound, limit = upper_ratio(candidate, champion, **options), settings["max_ratio"]
    detail = f"daily MAE {candidate.mean():.4g}, champion {champion.mean():.4g}; {settings['confidence']:.0%} upper bound of the ratio"
    value = round(bound, 4) if np.isfinite(bound) else "infinite"
    return Verdict(name="not_worse_than_champion", passed=bound < limit, value=value, threshold=limit, detail=detail)


def _bias(evaluation: Mapping[str, Any], settings: Mapping[str, Any]) -> Verdict:
    level, limit = evaluation["target_level"], settings["max_bias"]
    share = abs(evaluation["bias"]) / level if level > 0 else 0.0
    detail = f"mean error {evaluation['bias']:+.4g} beside a mean of {level:.4g}"
    return Verdict(name="bias", passed=share <= limit, value=round(share, 4), threshold=limit, detail=detail, blocking=False)


def _mae(evaluation: Mapping[str, Any], who: str) -> float:
    """Over all rows: each day weighs as much as it has rows."""
    weights: Sequence[int] = evaluation["rows"]
    return float(np.average(evaluation[who], weights=weights)) if weights else 0.0
