"""The faults that were injected, and what became of the work: printed as one table when the tests have run (conftest.py)."""

ROWS: list[tuple[str, str]] = []


def note(fault: str, outcome: str) -> None:
    ROWS.append((fault, outcome))


def table() -> list[str]:
    """Lines of markdown; none where no fault was injected."""
    return [f"| {' | '.join(row)} |" for row in [("fault", "outcome"), ("---", "---"), *ROWS]] if ROWS else []
