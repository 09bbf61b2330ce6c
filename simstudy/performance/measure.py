"""A performance measure as one record: what it is, how it is computed, how it is written and drawn, what it means.

A measure is added by `register_measure`, here (`catalog`) or in another package, and is then in every performance
table, can be asked for by name in tables and figures, and is explained in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from simstudy.errors import SimstudyError
from simstudy.performance.moments import BoolArray, FloatArray, IntArray, Measured, count, jackknifed, measured, quiet
from simstudy.performance.registry import Registry

Reads: TypeAlias = Literal["estimate", "se", "interval", "fit"]
Axis: TypeAlias = Literal["open", "bias", "ratio", "difference", "truth", "coverage", "rejection", "tail", "share"]
"""How a figure draws a measure: from 0 up, or where the values are (``open``); around 0 and as wide as the truth
suggests (``bias``); around `Measure.reference` (``ratio``); around 0 (``difference``); around the truth; as a coverage;
as a rejection rate; as one of the two shares (1 - level)/2 of misses (``tail``); as a share that ought to be 1."""

BASES: tuple[str, ...] = ("casewise", "common", "lower_bound", "upper_bound", "paired")
"""Which replicates a number is about.

`casewise`: each method on its own converged replicates; `common`: on those on which every method succeeded;
`lower_bound` and `upper_bound`: rates over all replicates tried, with every failed one counted as a miss or as a hit;
`paired`: the replicates on which both the method and the reference method succeeded.
"""

PAIRED = "paired"


@dataclass(frozen=True)
class Numbers:
    """What a measure of a parameter reads: numbers of one method and kind of SE.

    Attributes
    ----------
    estimate, se, lower, upper : ndarray, (R, k)
        Replicates by parameters, NaN for what is missing. Limits are filled in: where a method gave none they are
        Wald's.
    truth : ndarray, (k,)
        NaN where there is none.
    reference : Numbers, optional
        Those of the reference method on the same replicates, for a measure that is `Measure.paired`.
    """

    estimate: FloatArray
    se: FloatArray
    lower: FloatArray
    upper: FloatArray
    truth: FloatArray
    reference: Numbers | None = None

    @property
    def _arrays(self) -> tuple[FloatArray, ...]:
        return self.estimate, self.se, self.lower, self.upper

    @property
    def other(self) -> Numbers:
        """The reference's numbers, of a paired measure."""
        if self.reference is None:
            raise SimstudyError("a measure reads the reference method's numbers and is not paired")
        return self.reference

    def has(self, reads: Reads) -> BoolArray:
        """Tell which replicates have what a measure reads, (R, k)."""
        valid = np.isfinite(self.estimate)
        if reads == "se":
            valid = valid & np.isfinite(self.se)
        if reads == "interval":
            valid = valid & np.isfinite(self.lower) & np.isfinite(self.upper)
        return np.asarray(valid if self.reference is None else valid & self.reference.has(reads))

    def only(self, keep: BoolArray) -> Numbers:
        """Blank replicates: `keep` (R, k) tells which stay."""
        estimate, se, lower, upper = (np.where(keep, x, np.nan) for x in self._arrays)
        other = None if self.reference is None else self.reference.only(keep)
        return Numbers(estimate, se, lower, upper, self.truth, other)

    def one(self, rows: IntArray, column: int) -> Numbers:
        """Some replicates of one parameter: arrays (n,), the truth a number."""
        estimate, se, lower, upper = (x[rows, column] for x in self._arrays)
        other = None if self.reference is None else self.reference.one(rows, column)
        return Numbers(estimate, se, lower, upper, self.truth[column], other)


@dataclass(frozen=True)
class Fits:
    """What a measure of a fit reads.

    Attributes
    ----------
    ok, supported, admissible : ndarray of bool, (R, 1)
        Converged; tried, as the method supports the design; converged to an admissible solution.
    unrecorded : int
        Attempts that left no row.
    """

    ok: BoolArray
    supported: BoolArray
    admissible: BoolArray
    unrecorded: int = 0


@dataclass(frozen=True)
class Law:
    """What theory knows of a method with J clusters: normal estimates around a limit, (k,) each.

    Attributes
    ----------
    limit, se : ndarray
        What the estimates converge to, and their standard deviation.
    reported : ndarray
        The standard error that the method reports, in the limit.
    ratio : ndarray
        Reported over true SE, which does not depend on J.
    truth : ndarray
    level : float
        Of the intervals.
    """

    limit: FloatArray
    se: FloatArray
    reported: FloatArray
    ratio: FloatArray
    truth: FloatArray
    level: float


@dataclass(frozen=True)
class Counterpart:
    """A measure's counterpart in theory.

    Attributes
    ----------
    formula : callable
        `Law` -> (k,).
    reads : str
        ``limit`` alone, what the method has ``reported`` alone, or the ``spread`` of the estimates as well.
    """

    formula: Callable[[Law], FloatArray]
    reads: Literal["limit", "reported", "spread"] = "spread"


@dataclass(frozen=True)
class Measure:
    """One performance measure.

    Parameters
    ----------
    name : str
        Name in the column `measure`.
    label : str
        Heading in tables.
    formula : str
        Definition and Monte Carlo standard error, in plain text.
    meaning : str
        A sentence for readers who did not run the study.
    reads : str
        What it is computed from: ``estimate`` (the same for every kind of SE), ``se``, ``interval`` or ``fit``
        (statuses, no parameter).
    compute : callable, optional
        `Numbers` (or `Fits`) -> `Measured` (k,), with a Monte Carlo standard error of its own.
    value : callable, optional
        Instead of `compute`: `Numbers` of one parameter -> number, with complete replicates only, so that arrays are
        (n,) and the truth is a number. The Monte Carlo standard error is then the jackknife's, which calls it n times.
    paired : bool
        A difference from the reference method on the same replicates (`Numbers.other`).
    bounds : callable, optional
        (`Numbers`, replicates tried (k,)) -> lower and upper bound of a rate over the failed replicates as well.
    theory : Counterpart, optional
        How `simstudy.bias` computes it.
    replicate : str
        What it is over replicates: a ``mean`` of numbers, a ``rate``, or empty (a root, a ratio, a median).
    is_share : bool
        It lies between 0 and 1 and its error vanishes there: a rate, or a rate with an estimated threshold.
    decimals : int
        In tables.
    percent : bool
        Written in per cent, with one decimal.
    axis : str
        See `Axis`.
    reference, reference_label : float, str
        Line that figures draw across.
    bands : mapping of str to (float, float)
        Source -> what it calls acceptable, lowest and highest.
    axis_label : str
        By default the label; ``{level}`` stands for the level of the intervals, and what is in parentheses is left out
        of titles.
    title : str
        In titles of figures; by default the axis label.
    aliases : tuple of str
        Further names by which it may be asked for.
    """

    name: str
    label: str
    formula: str
    meaning: str
    reads: Reads
    compute: Callable[[Any], Measured] | None = None
    value: Callable[[Any], float] | None = None
    paired: bool = False
    bounds: Callable[[Numbers, IntArray], tuple[Measured, Measured]] | None = None
    theory: Counterpart | None = None
    replicate: Literal["", "mean", "rate"] = ""
    is_share: bool = False
    decimals: int = 4
    percent: bool = False
    axis: Axis = "open"
    reference: float | None = None
    reference_label: str = ""
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    axis_label: str = ""
    title: str = ""
    aliases: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        problems = [f"it has no {part}" for part in ("label", "formula", "meaning") if not getattr(self, part).strip()]
        if not self.name.isidentifier():
            problems.append("its name is none: letters, digits and _ are allowed")
        if (self.compute is None) == (self.value is None):
            problems.append("it needs either 'compute' or 'value'")
        if self.reads == "fit" and (self.value is not None or self.paired):
            problems.append("a measure of the fit has 'compute' and is not paired")
        if problems:
            raise SimstudyError([f"measure '{self.name}': {problem}" for problem in problems])

    @property
    def home(self) -> str:
        """Module of its function."""
        return str((self.compute or self.value).__module__)

    @property
    def about(self) -> Literal["parameter", "pair", "fit"]:
        """One method's numbers for a parameter, a method and the reference, or a fit."""
        return "fit" if self.reads == "fit" else "pair" if self.paired else "parameter"

    @property
    def of_estimate_alone(self) -> bool:
        """Whether it is the same under every kind of SE."""
        return self.reads in ("estimate", "fit")

    def of(self, numbers: Numbers | Fits) -> Measured:
        """Value, Monte Carlo standard error and n, (k,) each.

        Raises
        ------
        SimstudyError
            If the measure's function fails.
        """
        value: Any = self.value
        compute = partial(with_jackknife, value, self.reads) if self.compute is None else self.compute
        try:
            found = compute(numbers)
        except SimstudyError:
            raise
        except Exception as error:  # whatever the function of another package raises
            raise SimstudyError(f"measure '{self.name}': {type(error).__name__}: {error}") from error
        k = numbers.ok.shape[1:] if isinstance(numbers, Fits) else numbers.truth.shape
        if np.shape(found.value) != k or np.shape(found.mcse) != k or np.shape(found.n) != k:
            raise SimstudyError(f"measure '{self.name}': found results of shape {np.shape(found.value)}; allowed: {k}")
        return found


@quiet
def with_jackknife(value: Callable[[Numbers], float], reads: Reads, numbers: Numbers) -> Measured:
    """Values of each parameter's complete replicates; MCSE by leaving each replicate out in turn."""
    valid = numbers.has(reads)
    n = count(valid)
    found, mcse = np.full(len(n), np.nan), np.full(len(n), np.nan)
    for column in range(len(n)):
        rows = np.flatnonzero(valid[:, column])
        if len(rows):
            found[column] = value(numbers.one(rows, column))
        if len(rows) > 1:
            left = [value(numbers.one(np.delete(rows, place), column)) for place in range(len(rows))]
            mcse[column] = jackknifed(np.array(left)[:, None], np.ones((len(left), 1), dtype=np.bool_))[0]
    return measured(found, mcse, n, mcse)


MEASURES: Registry[Measure] = Registry("measure", "simstudy.measures")
"""Every measure by name, in the order of the rows of a performance table."""


def register_measure(measure: Measure) -> Measure:
    """Add a measure: it is computed by every analysis from now on, and known to tables, figures and the report.

    Raises
    ------
    SimstudyError
        If another measure has its name or one of its aliases.

    Examples
    --------
    >>> import numpy as np
    >>> from simstudy.performance import MEASURES, Measure, register_measure
    >>> with MEASURES.restored():
    ...     _ = register_measure(
    ...         Measure(
    ...             "mean_abs_error", "Mean |error|", "mean(|est - truth|); MCSE by the jackknife",
    ...             "The average distance of an estimate from the true value.", "estimate",
    ...             value=lambda x: np.mean(np.abs(x.estimate - x.truth)),
    ...         )
    ...     )
    ...     "mean_abs_error" in MEASURES
    True
    """
    names = {measure.name, *measure.aliases}
    for other in MEASURES.values():
        taken = names & {other.name, *other.aliases}
        if other.name != measure.name and taken:
            raise SimstudyError(f"measure '{measure.name}': '{min(taken)}' is a name of the measure '{other.name}'")
    return MEASURES.add(measure)


def measure_names(*about: str) -> tuple[str, ...]:
    """Names of the measures of a ``parameter``, a ``pair`` of methods or a ``fit``, in the order of the table."""
    return tuple(name for name, measure in MEASURES.items() if measure.about in about)


def own_name(name: str) -> str:
    """Name of the measure that has this alias, in any case; the name itself if it is none's."""
    wanted = name.lower()
    return next((m.name for m in MEASURES.values() if wanted in {m.name, *m.aliases}), name)
