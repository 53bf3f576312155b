"""The gate: may a candidate take the champion's place? A pure function of an evaluation and settings; its numbers are in the verdicts."""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from mlsys.pipelines import names, settings
from mlsys.records import Json, Validation, Verdict

Floats = npt.NDArray[np.float64]


def judge(
    evaluation: Mapping[str, Any], chosen: Mapping[str, Any], *, champion_expected: str | None, data: Sequence[Verdict] = ()
) -> Validation:
    """``champion_expected``: the version in production at the moment of decision. ``chosen``: a normalised ``validation`` mapping; what an
    older one does not name has its default. ``data``: verdicts of the data checks.

    cannot_judge: data that is not fit to judge on, or a champion that was not scored on unseen days. Else accepted or rejected on error
    alone. Every number is in the answer, whatever the decision.
    """
    chosen = {**settings.gate_defaults(), **chosen}
    grounds = [_days(evaluation, chosen), _coverage(evaluation, chosen), *_comparable(evaluation, champion_expected)]
    contest = [_skill(evaluation, chosen, first=champion_expected is None)]
    if champion_expected is not None and evaluation["champion_id"] == champion_expected and evaluation["champion"]:
        contest += [_non_inferior(evaluation, chosen), _best(evaluation, chosen)]
    contest += _quantiles(evaluation, chosen)
    checks = (*data, *grounds, *contest, _bias(evaluation, chosen))
    if not all(check.passed for check in checks if check.ground):
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


def _days(evaluation: Mapping[str, Any], chosen: Mapping[str, Any]) -> Verdict:
    count, minimum = len(evaluation["days"]), chosen["min_days"]
    detail = f"{count} days were scored" + ("" if count >= minimum else f"; {minimum} are needed to judge: widen the window")
    return Verdict(
        name="scored_days", passed=count >= minimum, value=count, threshold=minimum, detail=detail, ground=True, data=_scored(evaluation)
    )


def _coverage(evaluation: Mapping[str, Any], chosen: Mapping[str, Any]) -> Verdict:
    scored, expected, minimum = sum(evaluation["rows"]), evaluation["expected_rows"], chosen["min_coverage"]
    share = min(1.0, scored / expected) if expected else 0.0
    detail = f"{scored} of the {expected} rows that the hold-out should have were scored"
    return Verdict(
        name="coverage",
        passed=share >= minimum,
        value=round(share, 4),
        threshold=minimum,
        detail=detail,
        ground=True,
        data=_scored(evaluation),
    )


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
    return [
        Verdict(
            name="champion_comparable",
            passed=passed,
            value=scored,
            threshold=expected,
            detail=detail,
            ground=True,
            data=_scored(evaluation),
        )
    ]


def _skill(evaluation: Mapping[str, Any], chosen: Mapping[str, Any], *, first: bool) -> Verdict:
    minimum = chosen["min_skill_first" if first else "min_skill"]
    candidate, naive = _mae(evaluation, evaluation["candidate"]), _mae(evaluation, evaluation["naive"])
    skill = 1 - candidate / naive if naive > 0 else (0.0 if candidate == 0 else -1.0)
    passed = skill >= minimum if first else skill > minimum
    detail = f"MAE {candidate:.4g}, seasonal naive {naive:.4g}" + (" (no champion yet)" if first else "")
    return Verdict(
        name="better_than_naive", passed=passed, value=round(skill, 4), threshold=minimum, detail=detail, data=_scored(evaluation)
    )


def _non_inferior(evaluation: Mapping[str, Any], chosen: Mapping[str, Any]) -> Verdict:
    return _bound("not_worse_than_champion", evaluation, evaluation["champion"], chosen, chosen["max_ratio"], "champion")


def _best(evaluation: Mapping[str, Any], chosen: Mapping[str, Any]) -> Verdict:
    """A bound of its own against the best of the last champions on these days: losses that are each within the bound cannot add up."""
    earlier = evaluation.get("earlier", ())
    scored = {
        evaluation["champion_id"]: evaluation["champion"],
        **{one["model_version_id"]: one["errors"] for one in earlier if one["errors"]},
    }
    best = min(scored, key=lambda one: (_mae(evaluation, scored[one]), one != evaluation["champion_id"]))
    notes = "".join(f"; {one['model_version_id']} not compared: {one['note']}" for one in earlier if not one["errors"])
    found = _bound(
        "not_worse_than_best",
        evaluation,
        scored[best],
        chosen,
        max(chosen["max_ratio_best"], chosen["max_ratio"]),
        f"best of {len(scored)}, {best},",
    )
    return Verdict(**{**vars(found), "detail": found.detail + notes})


def _bound(name: str, evaluation: Mapping[str, Any], theirs: Sequence[float], chosen: Mapping[str, Any], limit: float, who: str) -> Verdict:
    candidate, champion = np.array(evaluation["candidate"]), np.array(theirs)
    options = {option: chosen[option] for option in ("draws", "block_days", "confidence", "seed")}
    bound = upper_ratio(candidate, champion, **options)
    detail = f"daily MAE {candidate.mean():.4g}, {who} {champion.mean():.4g}; {chosen['confidence']:.0%} upper bound of the ratio"
    value = round(bound, 4) if np.isfinite(bound) else "infinite"
    return Verdict(name=name, passed=bound < limit, value=value, threshold=limit, detail=detail, data=_scored(evaluation))


def _quantiles(evaluation: Mapping[str, Any], chosen: Mapping[str, Any]) -> list[Verdict]:
    """Of the widest interval whose ends lie as far from 0 as from 1; where there is none, of the quantile that is furthest off.

    Allowed is ``max_quantile_gap`` and what chance makes of so many rows: of 28 daily values an 80 % interval covers 72 % or less in one
    case of five.
    """
    found = evaluation.get("quantiles") or {}
    below = {names.level(column): column for column in found.get("below") or {}}
    if not below:
        return []
    pairs = [(low, high) for low in below for high in below if low < high and abs(low + high - 1) < 1e-9]
    if pairs:
        low, high = min(pairs)
        band, nominal, what = _Band(found, below[low], below[high]), high - low, f"P{low * 100:g}..P{high * 100:g} covers"
    else:
        level = max(below, key=lambda one: abs(_Band(found, None, below[one]).gap(one)))
        band, nominal, what = _Band(found, None, below[level]), level, f"below P{level * 100:g} lie"
    gap, noise = band.gap(nominal), NormalDist().inv_cdf(chosen["confidence"]) * band.spread(nominal)
    limit, data = chosen["max_quantile_gap"] + noise, {**_scored(evaluation), "rows": found["rows"]}
    rows = f"{found['rows']} rows that are not known to be 0"
    detail = f"{what} {nominal + gap:.1%} of {rows}, nominally {nominal:.0%}; chance explains {noise:.1%} of so many"
    passed = abs(gap) <= limit
    return [Verdict(name="quantile_coverage", passed=passed, value=round(gap, 4), threshold=round(limit, 4), detail=detail, data=data)]


class _Band:
    """What lies between two quantiles (``low`` None: below one), from the counts of an evaluation."""

    def __init__(self, found: Mapping[str, Any], low: str | None, high: str) -> None:
        self._found, self._low, self._high = found, low, high

    def gap(self, nominal: float) -> float:
        """By how much coverage misses its level. Rows that equal an end may count as in or out, whichever comes nearer."""
        below = self._found["below"]
        under = self._found.get("under") or below
        most = below[self._high] - (under[self._low] if self._low else 0.0)
        least = under[self._high] - (below[self._low] if self._low else 0.0)
        return float(min(max(nominal, least), most) - nominal)

    def spread(self, nominal: float) -> float:
        """Standard error of the coverage: over days, whose rows are alike, and at least that of as many independent rows."""
        fewest, days = np.sqrt(nominal * (1 - nominal) / self._found["rows"]), self._found.get("by_day")
        if not days or len(days["rows"]) < 2:
            return float(fewest)
        rows = np.array(days["rows"])
        inside = np.array(days[self._high]) - (np.array(days[self._low]) if self._low else 0)
        apart = inside - rows * inside.sum() / rows.sum()
        return float(max(fewest, np.sqrt(np.sum(apart**2)) / rows.sum()))


def _bias(evaluation: Mapping[str, Any], chosen: Mapping[str, Any]) -> Verdict:
    level, limit = evaluation["target_level"], chosen["max_bias"]
    share = abs(evaluation["bias"]) / level if level > 0 else 0.0
    detail = f"mean error {evaluation['bias']:+.4g} beside a mean of {level:.4g}"
    return Verdict(
        name="bias", passed=share <= limit, value=round(share, 4), threshold=limit, detail=detail, blocking=False, data=_scored(evaluation)
    )


def _mae(evaluation: Mapping[str, Any], errors: Sequence[float]) -> float:
    """Over all scored rows: each day weighs as much as it has rows."""
    weights: Sequence[int] = evaluation["rows"]
    return float(np.average(errors, weights=weights)) if weights else 0.0


def _scored(evaluation: Mapping[str, Any]) -> Json:
    return {**evaluation.get("holdout", {}), "days": len(evaluation["days"]), "rows": sum(evaluation["rows"])}
