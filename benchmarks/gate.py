"""Nine kinds of candidate through the data checks and the gate, at 25 fortnightly retrains on the first users' data. Prints one table.

Everything is the system's own: training.evaluate() (read, check, features, the fit to the days before the hold-out, all champions scored)
and validation.judge(). Only the final fit, which no decision rests on, is left out. Faults are in the file that the training reads,
hold-out included, because that is where they are in reality: so an error on those same data cannot show them.
"""

import argparse
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import candidates
import numpy as np
from harness import SOLAR, Report, folder, machine, print_table

from mlsys.pipelines import validation
from mlsys.records import Validation, Verdict

DAY = timedelta(days=1)
FIRST, FORTNIGHT, RETRAINS = datetime(2017, 7, 1, tzinfo=UTC), 14 * DAY, 25
AGES = (4, 13)  # weeks that the champion is older
HISTORY = 8  # champions in all, each a fortnight older than the next
TRIED = (1, 2, 3, 5, 8)  # values of best_of
LOSSES, CHAIN = (0.01, 0.02, 0.03, 0.05), 25
GOOD_SHARE, BAD_SHARE = 0.91, 0.16  # of the page


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One candidate at one retrain: what the pipeline found, the champions (both ages) among its rivals."""

    kind: str
    at: datetime
    found: candidates.Found

    def judged(self, age: int, **changes: Any) -> Validation:
        """With the champion ``age`` weeks older, and those before it."""
        settings = candidates.SETTINGS | changes
        line = champions(self.at, age)[: settings["best_of"]]
        scores, errors = self.found.scores, self.found.rivals
        champion, earlier = line[0], [{"model_version_id": one, "errors": errors.get(one), "note": "not scored"} for one in line[1:]]
        told = {**scores, "champion": errors[champion], "champion_id": champion, "champion_note": "", "earlier": earlier}
        return validation.judge(told, settings, champion_expected=champion, data=self.found.checks)


def champions(at: datetime, age: int) -> list[str]:
    """Names of the versions in production before ``at``, the present one first: each by the day that its window ended."""
    days = [at - timedelta(weeks=age) - i * FORTNIGHT for i in range(HISTORY)]
    return [f"{day:%Y-%m-%d}" for day in days if day >= candidates.EARLIEST]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrains", type=int, default=RETRAINS)
    parser.add_argument("--keep", type=Path, help="a file for what was found; where it exists, it is judged anew and nothing is trained")
    given = parser.parse_args()
    begin = time.monotonic()
    cases = read(given.keep) if given.keep and given.keep.exists() else train(given.retrains)
    if given.keep and not given.keep.exists():
        given.keep.write_text(json.dumps([dataclasses.asdict(case) | {"at": case.at.isoformat()} for case in cases]))
    print(f"\n{given.retrains} retrains from {FIRST:%Y-%m-%d}, {time.monotonic() - begin:.0f} s ({machine()})\n")
    kinds(cases)
    choice(cases)
    chains(cases)
    return verdict(cases)


def train(retrains: int) -> list[Case]:
    begin, cases = time.monotonic(), []
    with folder() as work:
        stage = candidates.Stage(work, SOLAR)
        for i in range(retrains):
            at = FIRST + i * FORTNIGHT
            names = sorted({name for age in AGES for name in champions(at, age)})
            for kind in (*candidates.KINDS, candidates.UNSEEN):
                cases.append(
                    Case(kind=kind, at=at, found=stage.candidate(kind, at, champions=names, previous=f"{at - FORTNIGHT:%Y-%m-%d}"))
                )
            print(f"{at:%Y-%m-%d}: {time.monotonic() - begin:.0f} s", flush=True)
    return cases


def read(file: Path) -> list[Case]:
    def found(data: Mapping[str, Any]) -> candidates.Found:
        return candidates.Found(scores=data["scores"], rivals=data["rivals"], checks=tuple(Verdict(**check) for check in data["checks"]))

    given = json.loads(file.read_text())
    return [Case(kind=one["kind"], at=datetime.fromisoformat(one["at"]), found=found(one["found"])) for one in given]


def kinds(cases: Sequence[Case]) -> None:
    rows = []
    for kind in (*candidates.KINDS, candidates.UNSEEN):
        for age in AGES:
            found = [case.judged(age) for case in cases if case.kind == kind]
            count = Counter(one.decision for one in found)
            why = Counter(check.name.partition(".")[0] for one in found for check in stopped(one))
            told = ", ".join(f"{name} {n}" for name, n in why.most_common(5)) or "nothing"
            good = "good" if kind in candidates.GOOD else "bad"
            rows.append((kind, good, f"{age} weeks", *(str(count[d]) for d in ("accepted", "rejected", "cannot_judge")), told))
    print_table(("candidate", "is", "champion older by", "accepted", "rejected", "cannot judge", "stopped by (times)"), rows)


def stopped(found: Validation) -> Iterator[Any]:
    return (
        (check for check in found.checks if not check.passed and (check.blocking or check.ground))
        if found.decision != "accepted"
        else iter(())
    )


def shares(cases: Sequence[Case], age: int, **changes: Any) -> tuple[float, float, int]:
    """Accepted share of the good and of the bad where the data of a good one can be judged at all, and at how many retrains it can."""
    fit = {case.at for case in cases if case.kind == "good" and case.judged(age, **changes).decision != "cannot_judge"}

    def share(names: Sequence[str]) -> float:
        found = [case.judged(age, **changes).decision == "accepted" for case in cases if case.kind in names and case.at in fit]
        return float(np.mean(found)) if found else float("nan")

    return share(candidates.GOOD), share([kind for kind in candidates.KINDS if kind not in candidates.GOOD]), len(fit)


def choice(cases: Sequence[Case]) -> None:
    """What the bound against the best of the last k costs the good ones, and what it stops."""
    print("\nThe bound against the best of the last k champions; share accepted at the retrains that can be judged\n")
    rows = []
    for age in AGES:
        for k in TRIED:
            for limit in (1.05, 1.10, 1.15):
                good, bad, fit = shares(cases, age, best_of=k, max_ratio_best=limit)
                rows.append((f"{age} weeks", str(k), f"{limit:.2f}", f"{good:.0%}", f"{bad:.0%}", str(fit)))
    print_table(("champion older by", "k", "bound", "good accepted", "bad accepted", "retrains"), rows)


def chains(cases: Sequence[Case]) -> None:
    """Each candidate a little worse than the champion it meets, on the days of the good ones: how far does it go?"""
    print(f"\n{CHAIN} candidates in a row, each worse than the champion by so much: what is in production at the end, against the start\n")
    good = [case for case in cases if case.kind == "good"]
    rows = [(f"{k}", *(f"{_chain(good, loss, k):+.0%}" for loss in LOSSES)) for k in TRIED]
    print_table(("k", *(f"{loss:.0%} worse each" for loss in LOSSES)), rows)


def _chain(good: Sequence[Case], loss: float, k: int) -> float:
    noise, settings = np.random.default_rng(0), candidates.SETTINGS | {"best_of": k}
    line = [1.0]
    for i in range(CHAIN):
        scores = good[i % len(good)].found.scores
        daily = np.array(scores["candidate"])
        models = [daily * worse * noise.uniform(0.95, 1.05, len(daily)) for worse in (line[-1] * (1 + loss), *line[::-1][:k])]
        told = {
            **scores,
            "candidate": models[0].tolist(),
            "champion": models[1].tolist(),
            "champion_id": "0",
            "earlier": [{"model_version_id": str(j), "errors": one.tolist(), "note": ""} for j, one in enumerate(models[2:], 1)],
        }
        if validation.judge(told, {**settings, "min_skill": -10.0}, champion_expected="0").decision == "accepted":
            line.append(line[-1] * (1 + loss))
    return line[-1] - 1


def verdict(cases: Sequence[Case]) -> int:
    report = Report("The gate, with the data checks in front (floor/peer: the page's simulation of the error bound alone)")
    for age in AGES:
        good, bad, fit = shares(cases, age)
        report.add(
            f"good accepted, champion {age} weeks older, {fit} retrains",
            f"{good:.0%}",
            "91-100 %",
            None,
            f">= {GOOD_SHARE:.0%}",
            good >= GOOD_SHARE,
        )
        report.add(f"bad accepted, champion {age} weeks older", f"{bad:.0%}", "11-16 %", None, f"<= {BAD_SHARE:.0%}", bad <= BAD_SHARE)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
