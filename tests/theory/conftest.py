"""The ``check`` fixture, and a line for each section of docs/theory with its largest |z| after the run."""

from __future__ import annotations

import pytest
from monte_carlo import LIMIT, Checks


@pytest.fixture
def check(record_property) -> Checks:
    checks = Checks()
    record_property("theory", checks.noted)  # the list itself: it is read after the test
    return checks


def pytest_terminal_summary(terminalreporter) -> None:
    """Largest |z| by section; it travels in the reports, so that it also works with pytest-xdist."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    noted = [tuple(item) for r in reports for key, items in r.user_properties if key == "theory" for item in items]
    if not noted:
        return
    terminalreporter.section("simulation against docs/theory")
    for section in sorted({section for section, _, _ in noted}):
        found = [(abs(z), what) for name, what, z in noted if name == section]
        worst, where = max(found)
        beyond = sum(z > 2 for z, _ in found) / len(found)
        terminalreporter.write_line(
            f"{section}: {len(found):4d} comparisons, {beyond:4.0%} beyond 2 MCSE, largest |z| {worst:.2f}"
            f" (limit {LIMIT:g}) at {where}"
        )
