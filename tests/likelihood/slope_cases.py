"""Models with random slopes, their parameters and data; and their likelihood by brute force.

Given the slopes, a cluster's rows and level-2 variables are jointly normal: the density comes from the structural
equations with the slopes put into the path matrix, and is integrated over the slopes by a product Gauss-Hermite rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from simstudy.data.layout import ClusterLayout
from simstudy.data.products import ClusterProducts
from simstudy.data.sample import Sample
from simstudy.model.representation import fill, level_matrices
from simstudy.model.twolevel import TwoLevelModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A model, treatment of its predictors, and nodes a slope that the brute-force integral needs."""

    text: str
    treatment: str
    nodes: int = 40

    @property
    def model(self) -> TwoLevelModel:
        return TwoLevelModel.from_syntax(self.text)


MEDIATION = """
level: within
  m ~ rv("a")*x
  y ~ rv("b")*m + {c}x
level: between
  m ~ ab*x
  y ~ bb*m + cb*x
  a ~~ b
"""
CASES = {
    "one slope": Case("level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ w\n y ~~ s\n", "observed"),
    "no level-2 variable": Case("level: 1\n y ~ rv('s')*x + b*v\nlevel: 2\n y ~~ s\n", "observed"),
    "slope predicts": Case("level: 1\n y ~ rv('s')*x\nlevel: 2\n s ~ w\n z1 ~ s\n z2 ~ z1 + s + y\n", "observed"),
    "two slopes": Case(
        "level: 1\n y ~ rv('s')*x + rv('t')*v\n v ~ x\nlevel: 2\n y ~~ s\n y ~~ t\n t ~ s\n", "observed", 20
    ),
    "factor": Case(
        "level: 1\n f =~ y1 + y2 + y3\n f ~ rv('s')*x\nlevel: 2\n g =~ y1 + y2 + y3\n g ~~ s\n", "observed"
    ),
    "correlated residuals": Case(
        "level: 1\n y1 ~ rv('s')*x\n y2 ~ x + y1\n y3 ~ rv('t')*y1\n y2 ~~ y3\nlevel: 2\n y1 ~~ s\n y2 ~ y1\n",
        "observed", 30,
    ),
    "endogenous": Case(
        "level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m + x\nlevel: 2\n m ~~ y\n m + y ~~ a\n m + y ~~ b\n a ~~ b\n",
        "observed", 24,
    ),
    "equal labels": Case(
        "level: 1\n y ~ rv('s')*x + b*v\nlevel: 2\n s ~ b*1\n y ~ b*w\n y ~~ v1*y\n s ~~ v1*s\n", "observed"
    ),
    "hybrid": Case("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x + w\n s ~ w\n y ~~ s\n", "hybrid"),
    "hybrid mediation": Case(MEDIATION.format(c="c*"), "hybrid", 24),
    "latent": Case("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x + w\n s ~ w\n y ~~ s\n", "latent"),
    "latent moderated": Case("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ bb*x\n s ~ x\n z ~ s\n", "latent"),
    "latent mediation": Case(MEDIATION.format(c="c*"), "latent", 24),
}  # fmt: skip
LAYOUT = ClusterLayout.of([1, 2, 3, 3, 6])


def values(model: TwoLevelModel, seed: int = 3) -> Array:
    """Parameters that are no special point: variances about 1, everything else off zero."""
    rng = np.random.default_rng(seed)
    found = rng.uniform(0.15, 0.45, size=len(model.names)) * rng.choice([-1.0, 1.0], size=len(model.names))
    variances = model.table.variance_indices
    found[variances] = rng.uniform(0.5, 0.9, size=len(variances))
    for row in model.table.rows:
        if row.op == "~~" and row.lhs != row.rhs and row.free >= 0:
            found[row.free] *= 0.5
        if row.op == "=~" and row.free >= 0:
            found[row.free] = abs(found[row.free]) + 0.6
    return found


def gentle(model: TwoLevelModel) -> Array:
    """The same with slope variances of .05: the rule over slopes then converges to rounding."""
    found = values(model)
    names = {slope.name for slope in model.slopes}
    for row in model.table.at("between"):
        if row.op == "~~" and row.free >= 0 and names & {row.lhs, row.rhs}:
            found[row.free] = 0.05 if row.lhs == row.rhs else 0.1 * found[row.free]
    return found


def sample(model: TwoLevelModel, layout: ClusterLayout = LAYOUT, replicates: int = 1, seed: int = 5) -> Sample:
    """Random rows, which need not follow the model."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.3, 1.2, size=(replicates, layout.n_obs, len(model.level1)))
    rows[..., 1:] += 0.4 * rows[..., :1]
    rows = rows + np.repeat(rng.normal(size=(replicates, layout.n_clusters, 1)), layout.sizes, axis=1)
    return Sample(
        layout, model.level1, model.level2, rows, rng.normal(size=(replicates, layout.n_clusters, len(model.level2)))
    )


def products(data: Sample) -> ClusterProducts:
    return ClusterProducts.of(data.statistics())


def brute_force(model: TwoLevelModel, params: Array, data: Sample, treatment: str, nodes: int) -> Array:
    """Log-likelihood of every cluster (J,), of what is not missing (NaN)."""
    names = [s.name for s in model.slopes]
    p1, k = len(model.level1), len(names)
    within, between = level_matrices(model, "within"), level_matrices(model, "between")
    w, b = fill(within, params), fill(between, params)
    at = {name: i for i, name in enumerate(between.variables)}
    total = np.linalg.inv(np.eye(len(b.paths)) - b.paths)
    mean_b, cov_b = total @ b.means, total @ b.covariances @ total.T
    slopes = [at[name] for name in names]
    rest = [at[name] for name in model.both] + [at[name] for name in model.level2]
    both = [model.level1.index(name) for name in model.both]
    x, weight = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.stack(np.meshgrid(*[x] * k, indexing="ij"), -1).reshape(-1, k)
    log_weight = np.log(np.stack(np.meshgrid(*[weight / weight.sum()] * k, indexing="ij"), -1)).reshape(-1, k).sum(-1)
    root = np.linalg.cholesky(cov_b[np.ix_(slopes, slopes)])
    link = np.linalg.solve(root, cov_b[np.ix_(slopes, rest)]).T
    left = cov_b[np.ix_(rest, rest)] - link @ link.T
    result = np.zeros((data.layout.n_clusters, len(grid)))
    variable = {name: i for i, name in enumerate(within.variables)}
    for g, z in enumerate(grid):
        s = mean_b[slopes] + root @ z
        paths, lift = w.paths.copy(), np.zeros((len(w.paths), len(both)))
        for value, mean, slope in zip(s, mean_b[slopes], model.slopes, strict=True):
            o, p = variable[slope.outcome], variable[slope.predictor]
            paths[o, p] += value
            if slope.predictor in model.both:  # what the slope does to the between part of its predictor
                here = model.both.index(slope.predictor)
                lift[o, here] += {"latent": 0.0, "observed": value, "hybrid": value - mean}[treatment]
        solve = np.linalg.inv(np.eye(len(paths)) - paths)[:p1]
        sigma = solve @ w.covariances @ solve.T
        load = np.zeros((p1, len(rest)))
        load[both, range(len(both))] = 1.0
        load[:, : len(both)] += solve @ lift
        mean_r = mean_b[rest] + link @ z
        for j, n in enumerate(data.layout.sizes):
            first = data.layout.row_starts[j]
            values = np.concatenate([data.rows[0, first : first + n].ravel(), data.clusters[0, j]])
            tall = np.vstack([np.tile(load, (n, 1)), np.eye(len(rest))[len(both) :]])
            cov = tall @ left @ tall.T
            cov[: n * p1, : n * p1] += np.kron(np.eye(n), sigma)
            centre = tall @ mean_r
            centre[: n * p1] += np.tile(solve @ w.means, n)
            seen = ~np.isnan(values)
            density = stats.multivariate_normal(centre[seen], cov[np.ix_(seen, seen)]) if seen.any() else None
            result[j, g] = log_weight[g] + (density.logpdf(values[seen]) if density else 0.0)
    top = result.max(axis=1, keepdims=True)
    return np.log(np.exp(result - top).sum(axis=1)) + top[:, 0]
