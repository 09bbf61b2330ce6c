"""The analytic curve: what large-J theory says a measure is at each number of clusters.

Free parameters: estimates are normal around the method's limit, with their true asymptotic covariance, and the
interval has the SE that the method reports in the limit (`simstudy.asymptotics`). Defined parameters (indirect effects)
are functions of these: their distribution at a finite J is that of the function itself, not its normal approximation.
It is integrated over the free parameters by a lattice of `OUTER` points; their SE is the delta method's at each point,
and their Monte Carlo interval (MacKinnon et al., 2004) is found from `INNER` more points around it. A test of a product
near 0 is so described as it is: conservative, and less powerful than its large-J limit.

What is left out is of higher order in 1/J: the variability of the free parameters' SEs, and failures.

`simstudy.asymptotics.draws` has the same numbers for all definitions of one population, as `simstudy bias` tabulates
them; here they are for one definition, averaged over populations, at many numbers of clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import ndtri

from simstudy.asymptotics import Asymptotics
from simstudy.linalg.stacked import FloatArray, cholesky, eigh, submatrix
from simstudy.linalg.wald_intervals import coverage, quantile, rejection, width
from simstudy.model.estimands import Estimands
from simstudy.planning.criterion import Basis, Criterion, basis, link

OUTER, OUTER_MONTECARLO, INNER, LEAST = 8192, 1024, 2048, 4
"""Points over the free parameters (Wald and Monte Carlo intervals), and around each for a Monte Carlo interval; the
fewest that each of several populations has."""
MAX_STEPS = 60
GRID = 1.15


@dataclass(frozen=True)
class Target:
    """Whose performance is planned: a parameter, the kind of SE and interval, and the level.

    Attributes
    ----------
    parameter : str
    se_kind : str
    interval : str
        ``wald`` or ``montecarlo``.
    level : float
    """

    parameter: str
    se_kind: str
    interval: str
    level: float


@dataclass(frozen=True)
class Limits:
    """Analytic curve of one population, or the mean of the curves of several (assurance).

    Attributes
    ----------
    populations : tuple of Asymptotics
    estimands : Estimands
        Of the analysed model.
    target : Target
    criterion : Criterion
    dropped : int
        Populations without a curve, which the mean leaves out.
    """

    populations: tuple[Asymptotics, ...]
    estimands: Estimands
    target: Target
    criterion: Criterion
    dropped: int = 0

    @property
    def index(self) -> int:
        """Position of the parameter."""
        return self.populations[0].index(self.target.parameter)

    @cached_property
    def function(self) -> Estimands | None:
        """The parameter as a function of free ones that is not linear; None if it is free or linear."""
        if self.target.parameter not in self.estimands.defined_names:
            return None
        found = needed(self.estimands, self.target.parameter)
        with np.errstate(all="ignore"):
            slopes = found.jacobian(1.0 + _normals(4, len(found.names)) ** 2)[:, -1]
        return None if np.allclose(slopes, slopes[0], rtol=1e-12, atol=0.0) else found

    @cached_property
    def limit(self) -> FloatArray:
        """What the estimates converge to (K,)."""
        return np.array([found.limit[self.index] for found in self.populations])

    @cached_property
    def truth(self) -> FloatArray:
        """Population values (K,)."""
        return np.array([found.truth[self.index] for found in self.populations])

    @property
    def available(self) -> bool:
        """Whether the measure has an analytic curve here."""
        return self.criterion.measure.name != "convergence" and bool(np.isfinite(self.value(np.array([1e4]))).all())

    def value(self, n_clusters: FloatArray) -> FloatArray:
        """The measure (J,) at numbers of clusters (J,), which need not be whole."""
        j = np.asarray(n_clusters, dtype=np.float64)
        if self.function is not None and self.criterion.measure.name in ("power", "coverage"):
            return np.array([self._of_function(self.function, float(x)) for x in j])
        return np.asarray(np.mean([self._one(found, j) for found in self.populations], axis=0))

    def _one(self, found: Asymptotics, j: FloatArray) -> FloatArray:
        """The measure in one population, of a parameter that is normal with many clusters."""
        measure, i = self.criterion.measure.name, self.index
        limit, truth = float(found.limit[i]), float(found.truth[i])
        if measure.endswith("bias"):
            scale = abs(truth) if measure == "relative_bias" else 1.0
            second = float(found.second_order[i])
            drift = 0.0 if measure == "median_bias" or not np.isfinite(second) else second
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray((limit + drift / j - truth) / scale)
        with np.errstate(invalid="ignore"):
            se = np.sqrt(found.covariance[i, i] / j)
            reported = np.sqrt(found.reported[self.target.se_kind][i, i] / j)
        level = self.target.level
        if measure == "power":
            return rejection(np.array(limit), se, reported, level)
        if measure == "coverage":
            return coverage(np.array(limit), se, reported, truth, level)
        return width(reported, level)

    @cached_property
    def _spread(self) -> _Spread:
        assert self.function is not None
        return _spread(self.populations, self.function, self.target.se_kind)

    def _of_function(self, function: Estimands, j: float) -> float:
        """Power or coverage with J clusters, over the free parameters; each population has points of its own."""
        given, k = self._spread, len(function.names)
        if not given.known:
            return float("nan")
        montecarlo = self.target.interval == "montecarlo"
        n_populations = len(self.populations)
        n = max(LEAST, (OUTER_MONTECARLO if montecarlo else OUTER) // n_populations)
        normals = _normals(n * n_populations, k).reshape(n_populations, n, k)
        reference = self.truth[:, None] if self.criterion.measure.name == "coverage" else np.zeros((1, 1))
        with np.errstate(all="ignore"):
            points = given.centre[:, None, :] + normals @ given.true.swapaxes(-1, -2) / np.sqrt(j)
            if montecarlo:
                below = _below(function, points, given.reported / np.sqrt(j), reference)
                outside = (below < 0.5 * (1.0 - self.target.level)) | (below > 0.5 * (1.0 + self.target.level))
            else:
                half = np.matmul(function.jacobian(points)[..., -1, :], given.reported)  # gradient times a root
                se = np.sqrt((half**2).sum(axis=-1) / j)
                outside = np.abs(function.evaluate(points)[..., -1] - reference) > quantile(self.target.level) * se
        share = float(outside.mean())
        return share if self.criterion.measure.name == "power" else 1.0 - share


def _below(function: Estimands, points: FloatArray, roots: FloatArray, reference: FloatArray) -> FloatArray:
    """Share (K, n) of a function's values below a reference (K, 1), at normal points around each of the points."""
    inner = _normals(INNER, points.shape[-1])
    found = np.empty(points.shape[:2])
    reference = np.broadcast_to(reference, (len(points), 1))
    some = 8  # of the outer points: what stays in a processor's cache
    for k, root in enumerate(roots):
        cloud = np.ascontiguousarray((inner @ root.T).T)
        for first in range(0, points.shape[1], some):
            around = points[k, first : first + some].T[:, :, None] + cloud[:, None, :]  # a parameter's values in a row
            value = function.evaluate(np.moveaxis(around, 0, -1))[..., -1]
            found[k, first : first + some] = np.count_nonzero(value < reference[k], axis=-1) / len(inner)
    return found


@dataclass(frozen=True)
class _Spread:
    """Limits (K, k) of the free parameters, and roots (K, k, k) of J times their true and reported covariance."""

    centre: FloatArray
    true: FloatArray
    reported: FloatArray
    known: bool


def _spread(populations: Sequence[Asymptotics], function: Estimands, kind: str) -> _Spread:
    at = np.array([populations[0].index(name) for name in function.names])
    centre = np.array([found.limit[at] for found in populations])
    true = submatrix(np.array([found.covariance for found in populations]), at, at)
    reported = submatrix(np.array([found.reported[kind] for found in populations]), at, at)
    known = bool(np.isfinite(centre).all() and np.isfinite(true).all() and np.isfinite(reported).all())
    return _Spread(centre, _root(true), _root(reported), known) if known else _Spread(centre, true, reported, known)


def needed(estimands: Estimands, parameter: str) -> Estimands:
    """The definition of one parameter, with what it depends on and nothing else."""
    definitions = dict(estimands.definitions)
    used: set[str] = set()
    open_names = [parameter]
    while open_names:
        name = open_names.pop()
        if name not in used:
            used.add(name)
            open_names += definitions[name].names if name in definitions else ()
    kept = tuple((name, expression) for name, expression in estimands.definitions if name in used)
    kept = kept[: [name for name, _ in kept].index(parameter) + 1]
    return Estimands(tuple(name for name in estimands.names if name in used), kept, estimands.constants)


def _root(covariance: FloatArray) -> FloatArray:
    """Square roots (K, k, k) of covariance matrices, which may be singular."""
    factor, ok = cholesky(covariance)
    if not ok.all():
        values, vectors, _ = eigh(covariance[~ok])
        factor[~ok] = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return np.asarray(factor)


def lattice(indices: FloatArray, dimension: int, shift: FloatArray | float = 0.5) -> FloatArray:
    """Points (n, d) of a low-discrepancy sequence in the unit cube, each a function of its index alone.

    Additive recurrence with the powers of the generalised golden ratio g, the positive root of g^(d+1) = g + 1: in one
    dimension the golden-ratio (Kronecker) sequence, whose points are spread most evenly.
    """
    g = 2.0
    for _ in range(64):
        g = (1.0 + g) ** (1.0 / (dimension + 1))
    steps = g ** -np.arange(1.0, dimension + 1.0)
    return np.asarray(np.modf(shift + (np.asarray(indices)[:, None] + 1.0) * steps)[0])


@lru_cache(maxsize=8)
def _normals(n: int, dimension: int) -> FloatArray:
    """Standard normal points (n, d): each of a lattice followed by its mirror image, so that odd functions give 0."""
    half = np.asarray(ndtri(lattice(np.arange((n + 1) // 2, dtype=np.float64), dimension)), dtype=np.float64)
    return np.stack([half, -half], axis=1).reshape(-1, dimension)[:n]


def smallest(
    criterion: Criterion, value: Callable[[FloatArray], FloatArray], low: int, high: int, guess: int | None = None
) -> int | None:
    """Smallest size that reaches the target, if one up to ``high`` does; the curve must be monotone.

    Interpolation on the scale on which the curve is close to linear, and bisection where that does not help. A guess
    narrows the bounds first: to a factor of 1.5 around it, which is widened as long as need be.
    """
    transform = link(criterion.measure.link)

    def margin(size: int) -> float:
        return float(criterion.margin(transform(value(np.array([float(size)]))))[0])

    if criterion.measure.basis == "inverse":  # coverage of a product falls before it rises
        low, high = _last_miss(margin, low, high)
    elif guess is not None:
        low, high = _around(margin, low, high, guess)
    below, above = margin(low), margin(high)
    if not above >= 0.0:
        return None
    if below >= 0.0:
        return low
    for step in range(MAX_STEPS):
        if high - low == 1:
            break
        share = below / (below - above) if step % 3 != 2 else 0.5
        middle = min(max(_middle(criterion.measure.basis, low, high, share), low + 1), high - 1)
        found = margin(middle)
        if found >= 0.0:
            high, above = middle, found
        else:
            low, below = middle, found
    return high


def _last_miss(margin: Callable[[int], float], low: int, high: int) -> tuple[int, int]:
    """Neighbours, on a geometric grid, of which the first is the largest that misses the target."""
    sizes = sorted({low, high, *(round(low * GRID**k) for k in range(1, int(np.log(high / low) / np.log(GRID)) + 1))})
    for k in range(len(sizes) - 1, 0, -1):
        if not margin(sizes[k]) >= 0.0:
            return sizes[k], sizes[min(k + 1, len(sizes) - 1)]
    return low, sizes[min(1, len(sizes) - 1)]


def _around(margin: Callable[[int], float], low: int, high: int, guess: int) -> tuple[int, int]:
    """Bounds closer to a guess."""
    a, b = max(low, int(guess / 1.5)), min(high, int(guess * 1.5) + 1)
    while a > low and margin(a) >= 0.0:
        a, b = max(low, a // 2), a
    while b < high and not margin(b) >= 0.0:
        a, b = b, min(high, 2 * b)
    return a, b


def _middle(kind: Basis, low: int, high: int, share: float) -> int:
    """Size at a share of the way between two on the scale of the basis."""
    g = basis(kind)
    x, y = (float(g(np.array(float(end)))) for end in (low, high))
    at = x + share * (y - x)
    return round({"root": lambda: at**2, "inverse": lambda: 1.0 / at, "log": lambda: float(np.exp(at))}[kind]())
