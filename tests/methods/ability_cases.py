"""What each method can do, found out by asking it: behind the table "Which method does what" of the README.

Methods are fed samples whose moments are those of a population exactly, so that their estimates are their limits; every
kind of data that a method may need (sums, clusters, rows) comes from such a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

import simstudy.methods  # noqa: F401  (registers the methods)
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.errors import EstimatorError
from simstudy.estimation.result import FitResult
from simstudy.methods import ask, registry
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.draw import draw_sample
from simstudy.population.population import Population

ROOT = Path(__file__).resolve().parents[2]
METHODS = tuple(name for name in registry.names() if registry.find(name).__module__.startswith("simstudy."))
COLUMNS = (
    "Levels separated",
    "Level-2 outcomes",
    "Unequal sizes",
    "Missing values",
    "Latent variables",
    "Random slopes",
    "Fit indices",
    "SEs right",
)
EQUAL = ClusterLayout.of([6] * 60)
UNEQUAL = ClusterLayout.of([2, 4, 12] * 20)
NEAR = 1e-5  # limits are hit to the optimisers' tolerances, 1e-6 SE; what is biased is so by .01 or more
# Muthén & Muthén (2002): a bias of SEs below 5 %. Above, 10 %: cluster-robust SEs take the sizes as drawn, and where a
# method's residuals differ by size, as those of conflated slopes do, they are larger than with these sizes fixed.
SE_LIMITS = (0.95, 1.10)
MANY = 50  # times as many clusters for sandwich SEs, which vary with the sample: by about 1 % then
STEP = 0.05  # of a standard deviation of the statistics, for differences: an error of order STEP^2

CONTEXTUAL = TwoLevelModel.from_syntax("level: within\n y ~ bw*x\nlevel: between\n y ~ bb*x")
OUTCOME = TwoLevelModel.from_syntax("level: within\n x ~~ x\nlevel: between\n z ~ b*x + c*w")
MEDIATION = TwoLevelModel.from_syntax("level: within\n m ~ aw*x\n y ~ bw*m\nlevel: between\n m ~ ab*x\n y ~ bb*m")
FACTORS = TwoLevelModel.from_syntax(
    "level: within\n f =~ y1 + l2*y2 + l3*y3 + l4*y4\nlevel: between\n f =~ y1 + k2*y2 + k3*y3 + k4*y4"
)
SLOPES = TwoLevelModel.from_syntax('level: within\n y ~ rv("s")*x\nlevel: between\n y ~~ y\n s ~ gamma*1\n s ~~ tau*s')
VALUES: dict[str, dict[str, float]] = {
    "contextual": {"bw": 0.2, "bb": 0.7, "between: x ~~ x": 0.3, "between: y ~~ y": 0.2},
    "outcome": {"b": 0.5, "c": 0.3, "between: x ~~ x": 0.4, "between: x ~~ w": 0.1, "between: z ~~ z": 0.5},
    "mediation": {"aw": 0.2, "bw": 0.3, "ab": 0.5, "bb": 0.4},
    "factors": {"l2": 0.8, "l3": 0.9, "l4": 1.1, "k2": 1.2, "k3": 1.0, "k4": 0.7, "between: f ~~ f": 0.5},
}


def truth(model: TwoLevelModel, given: dict[str, float]) -> np.ndarray:
    """Values of all parameters: those given, variances .8 within and .3 between, means 0."""
    values = []
    for row in sorted((r for r in model.table.rows if r.free >= 0), key=lambda r: r.free):
        plain = 0.0 if row.op == "~1" or row.lhs != row.rhs else (0.8 if row.level == "within" else 0.3)
        values.append(given.get(model.names[row.free], plain))
    return np.array(values)


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of a sample: pooled within covariance, and moments of the cluster means of every size."""

    within: np.ndarray
    means: np.ndarray
    spreads: np.ndarray

    @classmethod
    def of(cls, model: TwoLevelModel, given: dict[str, float], layout: ClusterLayout) -> Moments:
        """The population's."""
        mu, within, between = TwoLevelStructure(model).moments(truth(model, given))
        spreads = np.repeat(between[None], len(layout.distinct), axis=0)
        spreads[:, : len(within), : len(within)] += within / layout.distinct[:, None, None]
        return cls(within, np.repeat(mu[None], len(layout.distinct), axis=0), spreads)


def sample_with(model: TwoLevelModel, moments: Moments, layout: ClusterLayout) -> Sample:
    """Rows that have these moments exactly (divisors N - J, and the number of clusters of a size)."""
    rng = np.random.default_rng(20090306)
    p1, p = len(model.level1), len(model.variables)
    noise = rng.normal(size=(layout.n_obs, p1))
    cluster = np.repeat(np.arange(layout.n_clusters), layout.sizes)
    noise -= np.stack([np.bincount(cluster, noise[:, k]) / layout.sizes for k in range(p1)], axis=1)[cluster]
    rows = with_scatter(noise, (layout.n_obs - layout.n_clusters) * moments.within)
    means = np.empty((layout.n_clusters, p))
    for s, count in enumerate(layout.counts):
        draws = rng.normal(size=(count, p))
        spread = with_scatter(draws - draws.mean(axis=0), count * moments.spreads[s])
        means[layout.group == s] = moments.means[s] + spread
    rows = rows + means[cluster, :p1]
    return Sample(layout, model.level1, model.level2, rows[None], means[None, :, p1:])


def exact_sample(model: TwoLevelModel, given: dict[str, float], layout: ClusterLayout) -> Sample:
    """Rows whose moments are the population's."""
    return sample_with(model, Moments.of(model, given, layout), layout)


def with_scatter(x: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Rows turned and stretched so that x'x is ``scatter``."""
    whitened = np.linalg.solve(np.linalg.cholesky(x.T @ x), x.T).T
    return whitened @ np.linalg.cholesky(scatter).T


def fitted(name: str, model: TwoLevelModel, sample: Sample, **options: object) -> FitResult | None:
    """The method's fit, None where it declines or does not converge."""
    method = ask.for_model(registry.create(name, options), model)
    if method.supports(model, sample.layout) is not None:
        return None
    data = sample if method.needs == "sample" else sample.statistics(cluster_wise=method.needs == "clusters")
    found = method.prepare(model, sample.layout).fit(data)
    return found if found.converged.all() else None


def limits(name: str, which: str, model: TwoLevelModel, layout: ClusterLayout) -> dict[str, float] | None:
    """A method's limits by parameter; consistent ones as they come with maximum-likelihood divisors."""
    found = fitted(name, model, exact_sample(model, VALUES[which], layout), **ml_divisors(name))
    return None if found is None else dict(zip(found.labels, found.estimate[0].tolist(), strict=True))


def ml_divisors(name: str) -> dict[str, object]:
    """Options that make a method's divisors those of the sample's moments (J, not J - 1), where it has them."""
    wanted = {"likelihood": "ml", "first_step": "ml", "divisor": "J"}
    return {key: value for key, value in wanted.items() if accepts(name, key, value)}


def accepts(name: str, option: str, value: object) -> bool:
    try:
        registry.create(name, {option: value})
    except EstimatorError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------- abilities


def right(value: float, true: float) -> bool:
    return bool(abs(value - true) < NEAR)


def levels_separated(name: str) -> str:
    found = limits(name, "contextual", CONTEXTUAL, EQUAL)
    if found is None:
        return "needs random slopes" if random_slopes(name) == "yes" else "needs factors"
    within, between = found["bw"], found["bb"]
    if np.isnan(between):
        assert right(within, 0.2), name
        return "within only"
    if right(between, 0.7):
        assert right(within, 0.2), name
        return "yes"
    if np.isnan(within):
        return "between only, biased"
    return "no: one slope" if within == between else "between biased"


def level_2_outcomes(name: str) -> str:
    found = limits(name, "outcome", OUTCOME, EQUAL)
    if found is None or np.isnan(found["b"]):
        return "no"
    return "yes" if right(found["b"], 0.5) and right(found["c"], 0.3) else "biased"


def unequal_sizes(name: str) -> str:
    """Whether it takes them, and whether a method that separates the levels still does."""
    found = limits(name, "contextual", CONTEXTUAL, UNEQUAL)
    if found is None:
        others = (limits(name, "factors", FACTORS, UNEQUAL), fitted(name, SLOPES, slopes_sample((4, 8, 12) * 20)))
        return "yes" if any(other is not None for other in others) else "no"
    if levels_separated(name) == "yes":
        return "yes" if right(found["bw"], 0.2) and right(found["bb"], 0.7) else "biased"
    return "yes"


def missing_values(name: str) -> str:
    """Whether rows with missing values enter, and lead to the truth when values are missing at random."""
    sample = incomplete_sample()
    options: dict[str, object] = {"missing": "fiml"} if "missing" in registry.options(name) else {}
    if registry.create(name, options).needs != "sample":
        return "listwise"
    found = fitted(name, MEDIATION, sample, **options)
    if found is None:
        return "listwise"
    q = len(MEDIATION.names)
    error = np.abs(found.estimate[0, :q] - truth(MEDIATION, VALUES["mediation"]))
    assert (error < 4 * reference_se()).all(), name
    return "yes"


@cache
def incomplete_sample() -> Sample:
    """Rows of the mediation model where y is missing the more often, the higher m."""
    layout = ClusterLayout.of([8] * 150)
    rng = np.random.default_rng(7)
    sample = exact_sample(MEDIATION, VALUES["mediation"], layout)
    rows = sample.rows.copy()
    m, y = (MEDIATION.level1.index(name) for name in ("m", "y"))
    rows[0, rng.random(layout.n_obs) < 1 / (1 + np.exp(0.5 - 1.5 * rows[0, :, m])), y] = np.nan
    return Sample(layout, sample.level1, sample.level2, rows, sample.clusters)


@cache
def reference_se() -> np.ndarray:
    found = fitted("msem", MEDIATION, incomplete_sample(), missing="fiml", se=["observed"])
    assert found is not None
    return found.se["observed"][0]


def latent_variables(name: str) -> str:
    found = limits(name, "factors", FACTORS, EQUAL)
    if found is None:
        return "no"
    names = [key for key in found if key[0] in "lk" and key[1:].isdigit()]
    assert len(names) == 6
    spoken = [key for key in names if not np.isnan(found[key])]
    if any(not right(found[key], VALUES["factors"][key]) for key in spoken):
        return "biased"
    if not spoken:
        return "equal loadings"
    return "yes" if len(spoken) == 6 else "within only"


def random_slopes(name: str) -> str:
    """Whether it estimates the variance of a slope, or takes the slope for one that is the same everywhere."""
    found = fitted(name, SLOPES, slopes_sample())
    if found is None:
        return "no"
    told = dict(zip(found.labels, found.estimate[0].tolist(), strict=True))
    if np.isnan(told["gamma"]):
        return "no"
    return "taken as fixed" if np.isnan(told["tau"]) else "yes"


@cache
def slopes_sample(sizes: tuple[int, ...] = (8,) * 60) -> Sample:
    values = truth(SLOPES, {"gamma": 0.3, "tau": 0.2})
    return draw_sample(Population(SLOPES, tuple(values.tolist()), ClusterLayout.of(sizes), "abilities"), 7, range(1))


def fit_indices(name: str) -> str:
    """Chi-square, CFI and RMSEA of a model with degrees of freedom."""
    if "measures" not in registry.options(name):
        return "no"
    found = fitted(name, MEDIATION, exact_sample(MEDIATION, VALUES["mediation"], EQUAL), measures=True)
    if found is None:
        return "no"
    assert found.measures["df"][0] > 0
    there = [key for key in ("chisq", "cfi", "rmsea") if np.isfinite(found.measures.get(key, np.array([np.nan]))[0])]
    return "yes" if len(there) == 3 else "chi-square" if there == ["chisq"] else "no"


def ses_right(name: str) -> str:
    """Kinds of SE that are standard deviations of their slopes with many clusters, within `SE_LIMITS`."""
    equal, unequal = (se_ratios(name, layout) for layout in (EQUAL, UNEQUAL))
    if unequal is None:
        unequal = equal
    if equal is None:
        return "not of slopes"
    assert unequal is not None
    low, high = SE_LIMITS
    good = [
        {kind for kind, ratio in found.items() if ratio.min() > low and ratio.max() < high}
        for found in (equal, unequal)
    ]
    whole = [kind for kind in equal if kind in good[0] & good[1]]
    if whole:
        return "yes" if len(whole) == len(equal) else f"yes, {' and '.join(whole)}"
    return "with equal sizes" if good[0] else "no"


def se_ratios(name: str, layout: ClusterLayout) -> dict[str, np.ndarray] | None:
    """SE over standard deviation of the within and between slopes that the method reports, by kind of SE."""
    kinds = {"se": list(every_kind(name))} if "se" in registry.options(name) else {}
    options = {**ml_divisors(name), **kinds}
    base = fitted(name, CONTEXTUAL, exact_sample(CONTEXTUAL, VALUES["contextual"], layout), **options)
    if base is None:
        return None
    at = [k for k in map(base.labels.index, ("bw", "bb")) if not np.isnan(base.estimate[0, k])]
    spread = standard_deviations(name, layout)[at]
    found = {kind: se[0, at] / spread for kind, se in base.se.items()}
    sandwiches = [kind for kind in found if kind in ("robust", "corrected")]
    if sandwiches:
        many = ClusterLayout.of(list(layout.sizes) * MANY)
        sample = exact_sample(CONTEXTUAL, VALUES["contextual"], many)
        larger = fitted(name, CONTEXTUAL, sample, **{**options, **({"se": sandwiches} if kinds else {})})
        assert larger is not None
        found |= {kind: larger.se[kind][0, at] * np.sqrt(MANY) / spread for kind in sandwiches}
    return found


def every_kind(name: str) -> tuple[str, ...]:
    """All kinds of SE that a method can be asked for."""
    return tuple(kind for kind in ("expected", "observed", "robust", "corrected") if accepts(name, "se", [kind]))


def standard_deviations(name: str, layout: ClusterLayout) -> np.ndarray:
    """Standard deviations of a method's estimates by the delta method: differences along independent directions.

    The pooled within covariance is Wishart with N - J degrees of freedom; the clusters of each size have means and
    scatter of J_n normal vectors (theory B10). No simulation, and nothing of the method but its estimates.
    """
    m = Moments.of(CONTEXTUAL, VALUES["contextual"], layout)
    p, spare = len(m.within), layout.n_obs - layout.n_clusters
    total: np.ndarray | float = 0.0
    for moved in directions(m, p, float(spare), layout.counts.astype(float)):
        ends = []
        for sign in (1.0, -1.0):
            sample = sample_with(CONTEXTUAL, moved(sign * STEP), layout)
            found = fitted(name, CONTEXTUAL, sample, **ml_divisors(name))
            assert found is not None
            ends.append(found.estimate[0])
        total = total + ((ends[0] - ends[1]) / (2 * STEP)) ** 2
    return np.sqrt(total)


def directions(m: Moments, p: int, spare: float, counts: np.ndarray) -> Iterator[Callable[[float], Moments]]:
    """Functions that move the moments by so many standard deviations along one of independent directions."""
    root = np.linalg.cholesky(m.within)
    roots = np.linalg.cholesky(m.spreads)
    units = []
    for i in range(p):
        for j in range(i + 1):
            unit = np.zeros((p, p))
            unit[i, j] = unit[j, i] = np.sqrt(2.0) if i == j else 1.0
            units.append(unit)
    for unit in units:
        change = root @ unit @ root.T / np.sqrt(spare)
        yield lambda h, change=change: replace(m, within=m.within + h * change)
    for s, count in enumerate(counts):
        here = np.arange(len(counts)) == s
        for unit in units:
            change = here[:, None, None] * (roots[s] @ unit @ roots[s].T) / np.sqrt(count)
            yield lambda h, change=change: replace(m, spreads=m.spreads + h * change)
        for i in range(p):
            change = here[:, None] * roots[s][:, i] / np.sqrt(count)
            yield lambda h, change=change: replace(m, means=m.means + h * change)


ABILITIES = dict(
    zip(
        COLUMNS,
        (
            levels_separated,
            level_2_outcomes,
            unequal_sizes,
            missing_values,
            latent_variables,
            random_slopes,
            fit_indices,
            ses_right,
        ),
        strict=True,
    )
)


def computed(name: str) -> dict[str, str]:
    return {column: ability(name) for column, ability in ABILITIES.items()}


def written() -> dict[str, dict[str, str]]:
    """The README's table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("### Which method does what", 1)[1]
    lines = [line for line in section.split("\n### ", 1)[0].splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def as_markdown() -> str:
    """The table as it should stand in the README."""
    lines = [f"| Method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| `{name}` | {' | '.join(computed(name).values())} |" for name in METHODS]
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())
