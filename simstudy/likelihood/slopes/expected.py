"""Expected information of models with random slopes, given the predictors of the slopes (theory D1.2).

Where random slopes multiply variables that no random element touches, everything else is normal given these variables x
and the exogenous level-2 variables w:

    y_ij = B_j c_ij + e_ij,    c_ij = (1, x_ij),    e_ij ~ N(0, Sigma_y.x),    (B_j, z_j) normal given w_j,

and second derivatives of the log-likelihood are quadratic functions of y and z. Their expectation is therefore the mean
over any points with the right first two moments: vertices of a hypercube that a Hadamard matrix picks (one more than
there are standard normal variables, at least), with cross-products that have the same C_j = sum c c' as the data, and
the rest of y replaced by its expectation. No moment of y's distribution is approximated.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simstudy.data.products import ClusterProducts
from simstudy.likelihood.slopes.observed import ObservedSlopes
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, IntArray, columns, eigh, inverse, matvec, submatrix, transpose
from simstudy.model.carriers import reached_by_slopes
from simstudy.model.exogenous import GivenVariables
from simstudy.model.twolevel import TwoLevelModel

RANK = 1e-10
"""Eigenvalues of a cluster's correlation matrix of covariates below this are 0: fewer rows than covariates."""


def refuse_expected(model: TwoLevelModel) -> str | None:
    """Why the expected information has no closed form, or None."""
    reached = reached_by_slopes(model)
    for slope in model.slopes:
        if slope.predictor not in model.level1:
            why = "is a latent variable"
        elif slope.predictor in model.both:
            why = "stands in both blocks"
        elif slope.predictor in reached:
            why = "depends on a random slope itself"
        else:
            continue
        return (
            "the expected information has a closed form where random slopes multiply observed variables that vary "
            f"within clusters only and that no slope acts on; '{slope.predictor}', which '{slope.name}' multiplies, "
            f"{why}. se = observed and robust work"
        )
    return None


def hadamard(n: int) -> FloatArray:
    """Signs (m, n), m a power of 2 above n: columns have the mean 0 and are orthogonal (Sylvester 1867)."""
    signs = np.ones((1, 1))
    while len(signs) <= n:
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs[:, 1 : n + 1]


class ExpectedInformation:
    """Index arrays of a model whose slopes multiply variables that no random element touches."""

    def __init__(self, likelihood: ObservedSlopes) -> None:
        self.likelihood, self.chain = likelihood, likelihood.chain
        s, model = likelihood.structure, likelihood.structure.model
        exogenous = GivenVariables.of(model)
        given1 = {slope.predictor for slope in model.slopes} | set(exogenous.level1)
        self.x: IntArray = np.array([i for i, name in enumerate(model.level1) if name in given1], dtype=np.int64)
        self.y: IntArray = np.setdiff1d(np.arange(s.p1), self.x).astype(np.int64)
        self.k = len(self.x) + 1
        order = self.chain.order  # of mean and cov: u, then level-2 variables
        level2 = order[self.chain.r :] - s.r
        given = np.array([model.level2[int(i)] in exogenous.level2 for i in level2], dtype=bool)
        places = np.arange(self.chain.r, self.chain.f)
        self.w: IntArray = places[given].astype(np.int64)
        self.moving: IntArray = np.concatenate([np.arange(self.chain.r), places[~given]]).astype(np.int64)
        covariate = {0: 0} | {int(place) + 1: i + 1 for i, place in enumerate(self.x)}
        self.covariate: IntArray = np.array([covariate[int(place)] for place in self.chain.place], dtype=np.int64)

    def information(self, params: FloatArray, data: ClusterProducts) -> FloatArray:
        """Expected information (R, q, q) given x and w; that of their own moments is the observed one."""
        with np.errstate(all="ignore"):
            total = np.zeros((len(params), params.shape[-1], params.shape[-1]))
            points = self._points(params, data)
            for one in points:
                total += self.likelihood.observed_information(params, one)
            result: FloatArray = total / len(points)
        return result

    def _points(self, params: FloatArray, data: ClusterProducts) -> list[ClusterProducts]:
        """Cross-products whose first two moments are those of the model given x and w."""
        pieces = self.chain.reduce(params)
        reduced, sigma, mu = pieces.reduced, pieces.within.sigma, pieces.within.mean
        ground, _ = inverse(submatrix(sigma, self.x, self.x))
        cross = sigma[:, self.y[:, None], self.x]
        slopes = np.matmul(cross, ground)
        root = psd_factor(submatrix(sigma, self.y, self.y) - np.matmul(slopes, transpose(cross)))
        start = columns(mu, self.y) - matvec(slopes, columns(mu, self.x))
        mean, spread = self._given_w(reduced.mean, reduced.cov, data)
        seen = np.concatenate([[0], self.x + 1])
        c = np.moveaxis(data.products[:, seen[:, None], seen], -1, 1)  # (R, J, k, k)
        half, rank = _half(c)
        n, j = c.shape[:2]
        py, k, m = len(self.y), self.k, mean.shape[-1]
        signs = hadamard(k * py + m)
        left = data.products[:, 0, 0, :, None, None] - rank.sum(axis=-1)[:, :, None, None]
        rest = left * np.matmul(root, transpose(root))[:, None]
        loads = self.chain.base[self.y, : self.chain.r] + pieces.spanned[:, self.y, : self.chain.r]
        found = []
        for row in signs:
            noise = np.where(rank[..., None], row[: k * py].reshape(k, py), 0.0)  # (R, J, k, py)
            u = mean + matvec(spread, np.broadcast_to(row[k * py :], (n, m)))[:, None]
            b = np.zeros((n, j, py, k))
            b[..., 0] += start[:, None]
            b[..., 1:] += slopes[:, None]
            for element, place in enumerate(self.covariate):
                b[..., place] += loads[:, None, :, element] * u[:, :, element, None]
            error = np.matmul(noise, transpose(root)[:, None])
            d = np.matmul(c, transpose(b)) + np.matmul(half, error)  # sum c y'
            e = np.matmul(b, d) + transpose(np.matmul(b, np.matmul(half, error)))
            e += np.matmul(transpose(error), error) + rest
            found.append(self._with(data, d, e, u))
        return found

    def _given_w(self, mean: FloatArray, cov: FloatArray, data: ClusterProducts) -> tuple[FloatArray, FloatArray]:
        """Means (R, J, m) and a root (R, m, m) of the covariance matrix of what varies, given w."""
        cross = cov[:, self.moving[:, None], self.w]
        ground, _ = inverse(submatrix(cov, self.w, self.w))
        carry = np.matmul(cross, ground)
        values = np.moveaxis(data.clusters[:, self.chain.order[self.w] - self.likelihood.structure.r], -1, 1)
        offset = values - columns(mean, self.w)[:, None]
        found = columns(mean, self.moving)[:, None] + np.matmul(offset, transpose(carry))
        left = submatrix(cov, self.moving, self.moving) - np.matmul(carry, transpose(cross))
        return found, psd_factor(left)

    def _with(self, data: ClusterProducts, d: FloatArray, e: FloatArray, u: FloatArray) -> ClusterProducts:
        """The data with other cross-products of y, and other level-2 variables."""
        products, clusters = data.products.copy(), data.clusters.copy()
        seen, at = np.concatenate([[0], self.x + 1]), self.y + 1
        products[:, seen[:, None], at] = np.moveaxis(d, 1, -1)
        products[:, at[:, None], seen] = np.moveaxis(transpose(d), 1, -1)
        products[:, at[:, None], at] = np.moveaxis(e, 1, -1)
        place = self.chain.order[self.moving[self.chain.r :]] - self.likelihood.structure.r
        clusters[:, place] = np.moveaxis(u[:, :, self.chain.r :], 1, -1)
        return replace(data, products=products, clusters=clusters)


def _half(c: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """Roots H (R, J, k, k) of cross-products, H H' = C, and which of their columns are not 0 (R, J, k)."""
    scale = np.sqrt(np.maximum(np.diagonal(c, axis1=-2, axis2=-1), 1e-300))
    values, vectors, _ = eigh(c / scale[..., :, None] / scale[..., None, :])
    there = values > RANK
    half = scale[..., None] * vectors * np.sqrt(np.where(there, values, 0.0))[..., None, :]
    return half, there
