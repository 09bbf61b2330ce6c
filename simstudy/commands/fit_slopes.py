"""What `simstudy fit` prints and writes about random slopes beyond the summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simstudy.errors import SimstudyError

if TYPE_CHECKING:
    from simstudy.analysis.result import FitRecord
    from simstudy.requests.fit import FitRequest


def check_slope_choices(request: FitRequest, tests: Sequence[str], caterpillar: Path | None) -> list[str]:
    """Problems of what is asked about random slopes, found before anything is fitted."""
    from simstudy.analysis.choices import check_no_slopes
    from simstudy.model.twolevel import TwoLevelModel

    problems: list[str] = []
    model = request.model
    assert isinstance(model, TwoLevelModel)  # read already
    if not model.slopes:
        try:
            check_no_slopes(request.slopes, request.nodes)
        except SimstudyError as error:
            problems += [f"--{problem}" for problem in error.problems]
    if caterpillar is not None:
        from simstudy.report.figures.kinds.caterpillar import check_format

        try:
            check_format(caterpillar)
        except SimstudyError as error:
            problems += [f"--caterpillar: {problem}" for problem in error.problems]
    for option, asked in (("--lrt-slope", bool(tests)), ("--caterpillar", caterpillar is not None)):
        if asked and not model.slopes:
            problems.append(f'{option}: the model has no random slope; write one as y ~ rv("s")*x')
        elif asked and request.estimator == "all":
            problems.append(f"{option}: it is about one fit; name the method with --estimator")
    if model.slopes and tests:
        from simstudy.analysis.nested import without_variance

        for name in tests:
            try:
                without_variance(model, name)
            except SimstudyError as error:
                problems += [f"--lrt-slope: {problem}" for problem in error.problems]
    return problems


def print_slope_tests(fit: FitRecord, names: Sequence[str]) -> list[dict[str, Any]]:
    """Test the variances of slopes; returns what the JSON file holds."""
    from simstudy.analysis.nested import slope_variance_test

    found: list[dict[str, Any]] = []
    for name in names:
        test = slope_variance_test(fit, name)
        first = f"chi-square({test.df[0]})" if test.df[0] else "a point mass at 0"
        covariances = f" and of its {test.df[0]} covariance{'s' * (test.df[0] > 1)}" if test.df[0] else ""
        print(f"\nLikelihood-ratio test of the variance of '{name}'{covariances}:")
        print(f"  statistic {test.statistic:.3f}, p {test.pvalue:.4f}")
        print(f"  reference: half {first}, half chi-square({test.df[1]}), as 0 is a variance's boundary")
        for note in test.notes:
            print(f"  note: {note}")
        found.append({**asdict(test), "df": list(test.df), "notes": list(test.notes)})
    return found
