"""Prints the matrix of faults below the results."""

import matrix
import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = matrix.table()
    if lines:
        terminalreporter.section("faults that were injected")
        for line in lines:
            terminalreporter.write_line(line)
