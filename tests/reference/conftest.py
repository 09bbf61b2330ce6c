"""The ``differences`` fixture, and a table of the largest differences after the run."""

from __future__ import annotations

import pytest

from simstudy.data.layout import ClusterLayout  # noqa: F401  (fails early, with a clear message, without the package)


class Differences:
    """Collects differences by case and kind, and notes, and asserts that they are small."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, float, str]] = []
        self.stops: list[tuple[str, float, float, float, float, float]] = []

    def __call__(self, case: str, kind: str, ours: float, theirs: float, limit: float, what: str = "") -> None:
        """Note a relative difference (absolute below 1), which must be at most ``limit``."""
        found = abs(float(ours) - float(theirs)) / max(1.0, abs(float(theirs)))
        self.noted.append((case, kind, found, what))
        assert found <= limit, f"{case}: {kind} of {what}: {ours!r} here, {theirs!r} there, limit {limit:g}"

    def stop(self, case: str, estimate: float, below: float, default: float, polished: float, ours: float) -> None:
        """Note where lavaan's default stop is not its maximum: its distance, and the largest gradients by row."""
        self.stops.append((case, estimate, below, default, polished, ours))


@pytest.fixture
def differences(record_property) -> Differences:
    found = Differences()
    record_property("reference", found.noted)  # the lists themselves: they are read after the test
    record_property("reference stops", found.stops)
    return found


class BothSides:
    """Collects pairs of numbers, ours and another software's, and why they differ; asserts that they are close."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, float, float, str]] = []

    def __call__(self, case: str, what: str, ours: float, theirs: float, limit: float, why: str = "") -> None:
        """Note two numbers, which differ by ``limit`` at most."""
        self.noted.append((case, what, float(ours), float(theirs), why))
        assert abs(float(ours) - float(theirs)) <= limit, f"{case}: {what}: {ours!r} here, {theirs!r} there"


@pytest.fixture
def both_sides(record_property) -> BothSides:
    found = BothSides()
    record_property("both sides", found.noted)  # the list itself: it is read after the test
    return found


def _print_both_sides(write, reports) -> None:
    noted = [tuple(item) for r in reports for key, items in r.user_properties if key == "both sides" for item in items]
    if not noted:
        return
    case_width, what_width = (max(len(row[k]) for row in noted) + 2 for k in (0, 1))
    write(f"{'case':<{case_width}}{'':<{what_width}}{'simstudy':>14}{'other':>14}  why, where they differ")
    for case, what, ours, theirs, why in noted:
        write(f"{case:<{case_width}}{what:<{what_width}}{ours:>14.8g}{theirs:>14.8g}  {why}")


def pytest_terminal_summary(terminalreporter) -> None:
    """Table of the largest differences; they travel in the reports, so that it also works with pytest-xdist."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    noted, stops = (
        [tuple(item) for r in reports for key, items in r.user_properties if key == name for item in items]
        for name in ("reference", "reference stops")
    )
    if any(key == "both sides" for r in reports for key, _ in r.user_properties):
        terminalreporter.section("numbers of other software beside ours")
        _print_both_sides(terminalreporter.write_line, reports)
    if not noted:
        return
    kinds = list(dict.fromkeys(kind for _, kind, _, _ in noted))
    table: dict[str, dict[str, float]] = {}
    for case, kind, value, _ in noted:
        row = table.setdefault(case, {})
        row[kind] = max(value, row.get(kind, 0.0))
    width = max(len(case) for case in table)
    write = terminalreporter.write_line
    terminalreporter.section("largest differences from other software and from msem (relative, absolute below 1)")
    write(" " * width + "".join(f"{kind:>13}" for kind in kinds))
    for case in sorted(table):
        cells = (f"{table[case][kind]:13.1e}" if kind in table[case] else " " * 13 for kind in kinds)
        write(f"{case:<{width}}" + "".join(cells))
    if stops:
        write("")
        write("where lavaan's default stop is off its maximum (estimates differ by more than 1e-5)")
        head = ("estimates", "loglik below", "default", "polished", "msem")
        write(f"{'largest gradient by row:':>{width + 26 + 24}}")
        write(" " * width + "".join(f"{name:>13}" for name in head))
        for case, *values in sorted(set(stops)):
            write(f"{case:<{width}}" + "".join(f"{value:13.1e}" for value in values))
