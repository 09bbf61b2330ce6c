"""What lavaan's ``sem()`` adds to a model that is written down: variances, covariances, intercepts, markers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from simstudy.model.rows import Parameter, normal_key

AUTO = ("simstudy", "lavaan")
"""Rules of the automatic covariances of exogenous observed variables; see `with_defaults`."""


def observed_of(rows: Iterable[Parameter], slopes: Iterable[str] = ()) -> list[str]:
    """Observed variables of a level, in order of appearance."""
    rows = list(rows)
    latents = {row.lhs for row in rows if row.op == "=~"} | set(slopes)
    found: dict[str, None] = {}
    for row in rows:
        for name in (row.lhs, row.rhs) if row.op != "=~" else (row.rhs,):
            if name and name not in latents:
                found.setdefault(name)
    return list(found)


def written_exogenous(user: list[Parameter], slopes: Iterable[str]) -> list[str]:
    """Exogenous observed predictors whose variance, covariance or mean the user writes.

    lavaan takes them out of its set of exogenous variables, and so adds none of their covariances
    (``lav_partable_vnames``, type ``ov.x``).
    """
    written = {name for row in user if row.op == "~~" for name in (row.lhs, row.rhs)}
    written |= {row.lhs for row in user if row.op == "~1"}
    return [name for name in _exogenous(user, slopes) if name in written]


def _exogenous(user: list[Parameter], slopes: Iterable[str]) -> list[str]:
    indicators = {row.rhs for row in user if row.op == "=~"}
    outcomes = {row.lhs for row in user if row.op == "~"}
    predictors = {row.rhs for row in user if row.op == "~"}
    return [n for n in observed_of(user, slopes) if n in predictors and n not in outcomes and n not in indicators]


def with_defaults(
    user: list[Parameter],
    level: str,
    between_observed: list[str],
    slopes: list[str],
    *,
    std_lv: bool,
    auto: str = "simstudy",
) -> list[Parameter]:
    """Rows of one level with the defaults filled in.

    Every exogenous observed variable is correlated with every other. With ``auto = "lavaan"`` those of
    `written_exogenous` keep only the covariances that are written.
    """
    rows = [_settle_loading(row, user, std_lv) for row in user]
    have = {row.key for row in rows}
    latents = [*dict.fromkeys(row.lhs for row in user if row.op == "=~"), *slopes]
    observed = observed_of(user, slopes)
    indicators = {row.rhs for row in user if row.op == "=~"}
    outcomes = {row.lhs for row in user if row.op == "~"}
    predictors = {row.rhs for row in user if row.op == "~"}

    def add(lhs: str, op: str, rhs: str, fixed: float | None = None) -> None:
        if normal_key(lhs, op, rhs) not in have:
            have.add(normal_key(lhs, op, rhs))
            value = np.nan if fixed is None else fixed
            rows.append(Parameter(lhs, op, rhs, level, free=-2 if fixed is None else -1, value=value, user=False))

    def add_pairs(names: list[str]) -> None:
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                add(first, "~~", second)

    single = {row.rhs for row in user if row.op == "=~" and sum(r.op == "=~" and r.lhs == row.lhs for r in user) == 1}
    for name in observed:
        add(name, "~~", name, 0.0 if name in single else None)
    for name in latents:
        add(name, "~~", name, 1.0 if std_lv and name not in outcomes and name not in slopes else None)
    left_out = set(written_exogenous(user, slopes)) if auto == "lavaan" else set()
    add_pairs([name for name in _exogenous(user, slopes) if name not in left_out])
    add_pairs([name for name in latents if name not in outcomes and name not in indicators])
    add_pairs([n for n in [*latents, *observed] if n in outcomes and n not in predictors and n not in indicators])
    for name in observed:
        add(name, "~1", "", 0.0 if level == "within" and name in between_observed else None)
    for name in latents:
        add(name, "~1", "", None if name in slopes else 0.0)
    return rows


def auto_notes(levels: dict[str, list[Parameter]], slopes: list[str], *, auto: str) -> list[str]:
    """Automatic covariances in which the two rules differ for this model."""
    notes = []
    for level, user in levels.items():
        own = slopes if level == "between" else []
        exogenous, written = _exogenous(user, own), written_exogenous(user, own)
        have = {row.key for row in user}
        pairs = [
            f"{a} ~~ {b}"
            for i, a in enumerate(exogenous)
            for b in exogenous[i + 1 :]
            if (a in written or b in written) and normal_key(a, "~~", b) not in have
        ]
        if not pairs:
            continue
        names = ", ".join(written)
        if auto == "lavaan":
            notes.append(
                f"{level}: {', '.join(pairs)} fixed at 0, by lavaan's rule: a variance, covariance or mean of {names} "
                "is written in the model"
            )
        else:
            notes.append(
                f"{level}: {', '.join(pairs)} free; lavaan would leave them out, because a variance, covariance or "
                f"mean of {names} is written in the model (auto = 'lavaan', --auto lavaan, for its rule)"
            )
    return notes


def _settle_loading(row: Parameter, user: list[Parameter], std_lv: bool) -> Parameter:
    """The first indicator of a factor is its marker unless ``NA*`` frees it; a label alone does not."""
    if row.op != "=~" or std_lv or row.free != -2:
        return row
    first = next(other for other in user if other.op == "=~" and other.lhs == row.lhs)
    return replace(row, free=-1, value=1.0) if row is first else row
