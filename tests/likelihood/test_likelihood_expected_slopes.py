"""Expected information with random slopes against the dense normal formula."""

from __future__ import annotations

import numpy as np
import pytest
from slope_cases import LAYOUT, products, sample, values

from simstudy.likelihood.slopes.expected import ExpectedInformation, hadamard, refuse_expected
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.model.representation import fill, level_matrices
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel

MODELS = {
    "one slope": "level: 1\n y ~ rv('s')*x\nlevel: 2\n y + s ~ w\n y ~~ s\n",
    "alone": "level: 1\n y ~ rv('s')*x + rv('t')*v\nlevel: 2\n s ~~ t\n",
    "mediator": "level: 1\n y ~ rv('s')*x + v\nlevel: 2\n y ~ w\n s ~ w\n z ~ s + w\n y ~~ z\n",
    "factor": "level: 1\n f =~ y1 + y2 + y3\n f ~ rv('s')*x\nlevel: 2\n g =~ y1 + y2 + y3\n g ~~ s\n s ~ w\n",
    "1-1-1, random a": "level: 1\n m ~ rv('a')*x\n y ~ m + rv('c')*x\nlevel: 2\n m ~~ y\n m + y ~~ a\n a ~~ c\n",
}


def moments(model: TwoLevelModel, params: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance matrix of all outcomes of a cluster (rows one after the other, then level 2) given x, w."""
    given = [i for i, name in enumerate(model.level1) if name in "xv"]
    free = [i for i in range(len(model.level1)) if i not in given]
    within, between = level_matrices(model, "within"), level_matrices(model, "between")
    a, b = fill(within, params), fill(between, params)
    e, n, p1 = np.linalg.inv(np.eye(len(a.paths)) - a.paths), len(x), len(model.level1)
    mu, sigma = (e @ a.means)[:p1], (e @ a.covariances @ e.T)[:p1, :p1]
    slopes = sigma[np.ix_(free, given)] @ np.linalg.inv(sigma[np.ix_(given, given)])
    left = sigma[np.ix_(free, free)] - slopes @ sigma[np.ix_(given, free)]
    e_b = np.linalg.inv(np.eye(len(b.paths)) - b.paths)
    names = list(between.variables)
    exogenous = [names.index(name) for name in ("w",) if name in names]
    rest = [names.index(v) for v in (*model.both, *(s.name for s in model.slopes), *model.level2) if v != "w"]
    mean_b, cov_b = e_b @ b.means, e_b @ b.covariances @ e_b.T
    carry = cov_b[np.ix_(rest, exogenous)] @ np.linalg.inv(cov_b[np.ix_(exogenous, exogenous)])
    mean_u = mean_b[rest] + carry @ (w[: len(exogenous)] - mean_b[exogenous])
    cov_u = cov_b[np.ix_(rest, rest)] - carry @ cov_b[np.ix_(exogenous, rest)]
    n_u, k = len(rest), len(free)
    tall, centre = np.zeros((n * k + n_u, n_u)), np.zeros(n * k + n_u)
    place = {name: i for i, name in enumerate(within.variables)}
    for i in range(n):
        rows = slice(i * k, (i + 1) * k)
        centre[rows] = mu[free] + slopes @ (x[i] - mu[given])
        for u, name in enumerate(model.both):
            tall[i * k + free.index(model.level1.index(name)), u] = 1.0
        for u, slope in enumerate(model.slopes, len(model.both)):
            value = x[i][given.index(model.level1.index(slope.predictor))]
            tall[rows, u] = e[free, place[slope.outcome]] * value
    tall[n * k :] = np.eye(n_u)
    cov = tall @ cov_u @ tall.T
    cov[: n * k, : n * k] += np.kron(np.eye(n), left)
    keep = [*range(n * k), *(n * k + i for i in range(len(model.both) + len(model.slopes), n_u))]
    return (centre + tall @ mean_u)[keep], cov[np.ix_(keep, keep)]


def dense(model: TwoLevelModel, params: np.ndarray, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """tr(V^-1 V_a V^-1 V_b)/2 + mu_a' V^-1 mu_b of one cluster, with derivatives by differences."""
    q, h = len(params), 1e-5
    sides = [[moments(model, params + s * h * np.eye(q)[a], x, w) for s in (1, -1)] for a in range(q)]
    d_mu = [(up[0] - down[0]) / (2 * h) for up, down in sides]
    d_v = [(up[1] - down[1]) / (2 * h) for up, down in sides]
    inverse = np.linalg.inv(moments(model, params, x, w)[1])
    turned = [inverse @ v for v in d_v]
    return np.array(
        [[0.5 * np.trace(turned[a] @ turned[b]) + d_mu[a] @ inverse @ d_mu[b] for b in range(q)] for a in range(q)]
    )


@pytest.mark.parametrize("name", MODELS)
def test_expected_information_is_the_dense_normal_formula(name) -> None:
    """Clusters of 1 to 6 rows, some smaller than the number of covariates."""
    model = TwoLevelModel.from_syntax(MODELS[name])
    assert refuse_expected(model) is None
    data, params = sample(model), values(model)
    found = ExpectedInformation(ObservedSlopes(SlopeStructure(model))).information(params[None], products(data))[0]
    given = [i for i, name in enumerate(model.level1) if name in "xv"]
    exact = np.zeros_like(found)
    for j, (first, n) in enumerate(zip(data.layout.row_starts, LAYOUT.sizes, strict=True)):
        at = [i for i, name in enumerate(model.level2) if name == "w"]
        exact += dense(model, params, data.rows[0, first : first + n][:, given], data.clusters[0, j, at])
    moments_of_given = {
        row.free
        for row in model.table.rows
        if row.free >= 0 and row.op in ("~~", "~1") and {row.lhs, row.rhs or row.lhs} <= {"x", "v", "w"}
    }
    rest = [k for k in range(len(params)) if k not in moments_of_given]
    # differences, relative to the scale of each pair of parameters
    scale = np.sqrt(np.outer(np.diagonal(exact)[rest], np.diagonal(exact)[rest]))
    np.testing.assert_allclose(found[np.ix_(rest, rest)] / scale, exact[np.ix_(rest, rest)] / scale, atol=1e-8)
    apart = np.abs(found[np.ix_(rest, sorted(moments_of_given))]).max(initial=0.0)
    assert apart < 1e-9 * np.abs(found).max()  # the moments of what is given are parameters of another density


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_points_have_the_moments_of_independent_variables(n) -> None:
    signs = hadamard(n)
    np.testing.assert_array_equal(signs.sum(axis=0), np.zeros(n))
    np.testing.assert_array_equal(signs.T @ signs, len(signs) * np.eye(n))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("level: 1\n y ~ rv('s')*x\nlevel: 2\n y ~ x\n", "stands in both blocks"),
        ("level: 1\n m ~ rv('a')*x\n y ~ rv('b')*m\nlevel: 2\n y ~~ a\n", "depends on a random slope itself"),
        ("level: 1\n m ~ x\n y ~ rv('b')*m\nlevel: 2\n m ~~ y\n", "stands in both blocks"),
        ("level: 1\n f =~ i1 + i2 + i3\n y ~ rv('s')*f\nlevel: 2\n y ~~ s\n", "is a latent variable"),
    ],
)
def test_elsewhere_there_is_no_closed_form(text, why) -> None:
    reason = refuse_expected(TwoLevelModel.from_syntax(text))
    assert reason is not None
    assert why in reason
    assert "observed" in reason


def test_no_bit_depends_on_the_batch() -> None:
    model = TwoLevelModel.from_syntax(MODELS["mediator"])
    expected = ExpectedInformation(ObservedSlopes(SlopeStructure(model)))
    data = products(sample(model, replicates=5))
    points = values(model) * np.linspace(0.9, 1.1, 5)[:, None]
    whole = expected.information(points, data)
    for part in ([0], [3, 4], [4, 1, 2]):
        some = expected.information(points[part], data.select(np.array(part)))
        np.testing.assert_array_equal(some, whole[part])
