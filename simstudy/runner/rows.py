"""Fits -> rows: the tables ``replicates`` and ``fits``, built a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from simstudy.estimation.fit_measures import STORED
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray

MONTECARLO = "montecarlo"
# the log-likelihood is a column of its own
MEASURES = tuple(name for name in STORED if name != "loglik")


@dataclass(frozen=True)
class MethodFits:
    """Fits of one method to the replicates of a block.

    Attributes
    ----------
    method : str
    fit : FitResult
        Without covariance matrices.
    seconds : (R,)
        Time per fit: that of its batch, shared out.
    """

    method: str
    fit: FitResult
    seconds: FloatArray


def slim(fit: FitResult) -> FitResult:
    """Drop the covariance matrices."""
    return replace(fit, covariance={})


def replicate_table(cell: int, replicates: range, fits: Sequence[MethodFits], defined: Sequence[str]) -> pa.Table:
    """Rows of ``replicates``: method, kind of SE, parameter, and within these the replicates.

    Limits are those of the method's own intervals under the name of the kind of SE; where there are none, readers take
    Wald intervals. Other intervals of a method are kinds of SE of their own, with limits and without an SE; so are
    Monte Carlo intervals, of the ``:=`` parameters alone.
    """
    groups = [group for entry in fits for group in _groups(entry, defined)]
    reps = np.arange(replicates.start, replicates.stop, dtype=np.int32)
    counts = [len(group.params) for group in groups]
    methods = list(dict.fromkeys(group.method for group in groups))
    kinds = list(dict.fromkeys(group.kind for group in groups))
    params = list(dict.fromkeys(name for entry in fits for name in entry.fit.labels))
    place = {name: i for i, name in enumerate(params)}
    n_rows = sum(counts) * len(reps)

    def spread(codes: Sequence[int], names: list[str]) -> pa.Array:
        return _text(np.repeat(codes, counts).repeat(len(reps)), names)

    def stack(parts: Sequence[FloatArray]) -> FloatArray:
        return np.concatenate([part.T.ravel() for part in parts]) if parts else np.empty(0)

    return pa.table(
        {
            "cell": pa.array(np.full(n_rows, cell, dtype=np.int32)),
            "rep": pa.array(np.tile(reps, sum(counts))),
            "estimator": spread([methods.index(group.method) for group in groups], methods),
            "se_kind": spread([kinds.index(group.kind) for group in groups], kinds),
            "param": _text(
                np.array([place[name] for group in groups for name in group.params], dtype=np.int64).repeat(len(reps)),
                params,
            ),
            "estimate": pa.array(stack([group.estimate for group in groups])),
            "se": pa.array(stack([group.se for group in groups])),
            "lower": _nullable(stack([group.lower for group in groups])),
            "upper": _nullable(stack([group.upper for group in groups])),
        }
    )


@dataclass(frozen=True)
class _Group:
    """Rows of one method and kind of SE, arrays (R, k)."""

    method: str
    kind: str
    params: tuple[str, ...]
    estimate: FloatArray
    se: FloatArray
    lower: FloatArray
    upper: FloatArray


def _groups(entry: MethodFits, defined: Sequence[str]) -> list[_Group]:
    fit = entry.fit
    nothing = np.full_like(fit.estimate, np.nan)
    found = []
    for kind, se in fit.se.items():
        lower, upper = fit.intervals.get(kind, (nothing, nothing))
        found.append(_Group(entry.method, kind, fit.labels, fit.estimate, se, lower, upper))
    for kind, (lower, upper) in fit.intervals.items():
        if kind not in fit.se and kind != MONTECARLO:
            found.append(_Group(entry.method, kind, fit.labels, fit.estimate, nothing, lower, upper))
    if MONTECARLO in fit.intervals:
        keep = np.array([fit.labels.index(name) for name in defined], dtype=np.int64)
        lower, upper = fit.intervals[MONTECARLO]
        cut = (x[:, keep] for x in (fit.estimate, nothing, lower, upper))
        found.append(_Group(entry.method, MONTECARLO, tuple(defined), *cut))
    return found


def fit_table(cell: int, replicates: range, fits: Sequence[MethodFits]) -> pa.Table:
    """Rows of ``fits``: method, and within it the replicates; measures are null where a method has none."""
    reps = np.arange(replicates.start, replicates.stop, dtype=np.int32)
    statuses = [status.name for status in Status]
    measures = dict.fromkeys([*MEASURES, *(name for entry in fits for name in entry.fit.measures)])
    measures.pop("loglik", None)  # a column of its own

    def stack(parts: Sequence[FloatArray | IntArray | BoolArray], dtype: str) -> pa.Array:
        return pa.array(np.concatenate(parts).astype(dtype))

    return pa.table(
        {
            "cell": pa.array(np.full(len(reps) * len(fits), cell, dtype=np.int32)),
            "rep": pa.array(np.tile(reps, len(fits))),
            "estimator": _text(np.arange(len(fits)).repeat(len(reps)), [entry.method for entry in fits]),
            "status": _text(np.concatenate([entry.fit.status for entry in fits]), statuses),
            "admissible": stack([entry.fit.admissible for entry in fits], "bool"),
            "n_iter": stack([entry.fit.n_iter for entry in fits], "int32"),
            "loglik": stack([entry.fit.loglik for entry in fits], "float64"),
            "seconds": stack([entry.seconds for entry in fits], "float64"),
            **{
                name: _nullable(np.concatenate([_measure(entry, name, len(reps)) for entry in fits]))
                for name in measures
            },
        }
    )


def _measure(entry: MethodFits, name: str, n: int) -> FloatArray:
    """A fit measure, NaN where the method has none."""
    return entry.fit.measures.get(name, np.full(n, np.nan))


def _text(codes: IntArray, names: Sequence[str]) -> pa.Array:
    """Dictionary-encoded text."""
    kind = np.int16 if len(names) > 127 else np.int8
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(kind)), pa.array(list(names), pa.string()))


def _nullable(values: FloatArray) -> pa.Array:
    """Numbers with NaN as null."""
    return pa.array(values, mask=np.isnan(values))
