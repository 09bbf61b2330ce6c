"""Finite sets of clusters, and of rows, whose moments up to the fourth are exactly those of a normal population.

Methods that look at every cluster (sandwich standard errors) or at rows cannot be fed sums. They get a few dozen
clusters of each size whose cluster vectors v and within scatter A have the population's moments: mean and covariance of
v and of A exactly, third moments 0, fourth moments normal, A uncorrelated with v v'. A score is quadratic in v and
linear in A, so estimates and the sum of squared scores are exactly at their expectation.

Points: a rotatable central composite design (Box & Hunter 1957): a two-level factorial of strength 4 at +-c, every axis
m times at +-a, and the centre, in numbers that give E x_i^2 = 1, E x_i^4 = 3, E x_i^2 x_j^2 = 1. Factorials of many
factors are duals of double-error-correcting BCH codes (Bose & Ray-Chaudhuri 1960): columns (x, x^3) over GF(2^k), of
which any four are linearly independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from simstudy.asymptotics.layouts import grown, shares
from simstudy.asymptotics.moments import Points
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, from_cluster_means
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, eigh, transpose

# Primitive polynomials of GF(2^k), the term x^k left out.
POLYNOMIALS = {3: 0b011, 4: 0b0011, 5: 0b00101, 6: 0b000011, 7: 0b0000011, 8: 0b00011101}
MAX_DIMENSION = 2**8 - 1


@lru_cache(maxsize=32)
def normal_points(dimension: int) -> FloatArray:
    """Points (M, dimension), each counting once, with the moments of independent standard normals up to the fourth."""
    signs = _factorial(dimension)
    n_signs = len(signs)
    halvings = (n_signs.bit_length() - 1) // 2  # m = n_signs / 4^halvings is a whole number
    m = n_signs // 4**halvings
    centre = 4 * (n_signs >> halvings) + 4 * m - 2 * dimension * m
    total = n_signs + 2 * dimension * m + centre
    axes = np.concatenate([np.eye(dimension), -np.eye(dimension)])
    return np.concatenate(
        [
            (total / n_signs) ** 0.25 * signs,
            np.repeat((total / m) ** 0.25 * axes, m, axis=0),
            np.zeros((centre, dimension)),
        ]
    )


def _factorial(dimension: int) -> FloatArray:
    """Two-level factorial (M, dimension) of strength 4, entries +-1."""
    if dimension <= 4:
        bits = [1 << k for k in range(dimension)]
        n_bits = dimension
    elif dimension <= 6:  # the last factor is the product of the others
        n_bits = dimension - 1
        bits = [*(1 << k for k in range(n_bits)), (1 << n_bits) - 1]
    else:
        k = next(k for k in POLYNOMIALS if 2**k > dimension)
        n_bits = 2 * k
        powers = _powers(k)
        bits = [powers[i] | powers[3 * i % len(powers)] << k for i in range(dimension)]
    runs = np.arange(2**n_bits)[:, None] & np.array(bits)
    parity = np.zeros_like(runs)
    for k in range(n_bits):
        parity ^= runs >> k & 1
    result: FloatArray = 1.0 - 2.0 * parity
    return result


def _powers(k: int) -> list[int]:
    """Powers x^0, x^1, ... of a primitive element of GF(2^k), as bits."""
    found = [1]
    while len(found) < 2**k - 1:
        value = found[-1] << 1
        found.append(value if value < 2**k else (value ^ 2**k) ^ POLYNOMIALS[k])
    return found


@dataclass(frozen=True)
class ExactClusters:
    """Clusters of a layout's sizes, with its shares, that have exact moments.

    Attributes
    ----------
    shape : ClusterLayout
        The layout whose shares of sizes are kept.
    p1, p : int
        Level-1 variables, and all.
    at_least : int
        Clusters wanted at least.
    rotation : int
        0, or the seed of a rotation of the points: other clusters with the same moments.
    rows : bool
        Whether rows can be made. The within scatter of a cluster then has no higher rank than its n - 1 contrasts,
        which takes more points where clusters are smaller than the number of variables.
    """

    shape: ClusterLayout
    p1: int
    p: int
    at_least: int = 0
    rotation: int = 0
    rows: bool = True

    @cached_property
    def _vectors(self) -> list[int]:
        """Normal vectors that make up the within scatter of a cluster of each size."""
        return [min(n - 1, 1) if n - 1 >= self.p1 or not self.rows else n - 1 for n in shares(self.shape)[0]]

    @cached_property
    def points(self) -> FloatArray:
        """Points (M, dimension) that the clusters of every size are made of."""
        dimension = self.p + self.p1 * max(self._vectors)
        found = normal_points(dimension)
        if self.rotation:
            random = np.random.default_rng(self.rotation)
            found = np.matmul(found, np.linalg.qr(random.standard_normal((dimension, dimension)))[0])
        return found

    @cached_property
    def layout(self) -> ClusterLayout:
        """All clusters: for every size a multiple of the number of points."""
        base = len(self.points) * sum(shares(self.shape)[1])
        times = max(1, -(-self.at_least // base))
        return grown(self.shape, times * base)

    def _repeat(self, found: list[FloatArray]) -> FloatArray:
        """Repeat arrays (..., M, a, b), one a size, to all clusters (..., J, a, b)."""
        times = self.layout.counts // len(self.points)
        return np.concatenate([np.tile(x, (k, 1, 1)) for x, k in zip(found, times.tolist(), strict=True)])

    @cached_property
    def z(self) -> FloatArray:
        """Standardised cluster vectors (J, p)."""
        return self._repeat([self.points[:, : self.p, None]] * len(self.layout.distinct))[..., 0]

    @cached_property
    def _scatter(self) -> list[FloatArray]:
        """Standardised within scatter (M, p1, p1) of clusters of each size."""
        found = []
        p1, m = self.p1, len(self.points)
        for n, vectors in zip(self.layout.distinct.tolist(), self._vectors, strict=True):
            w = self.points[:, self.p : self.p + p1 * vectors].reshape(m, vectors, p1)
            products = np.matmul(transpose(w), w)
            if vectors == 1:
                # (n-1)(1 - e) I + (n-1) e w w' has the Wishart's mean and covariance if e^2 = 1 / (n-1)
                df, share = n - 1.0, (n - 1.0) ** -0.5
                products = df * (1.0 - share) * np.eye(p1) + df * share * products
            found.append(products)
        return found

    @cached_property
    def scatter(self) -> FloatArray:
        """Standardised within scatter (J, p1, p1)."""
        return self._repeat(self._scatter)

    def _contrasts(self) -> list[FloatArray]:
        """Standardised contrasts (M, n - 1, p1) of clusters of each size, with that scatter."""
        found = []
        for n, scatter in zip(self.layout.distinct.tolist(), self._scatter, strict=True):
            rows = np.zeros((len(scatter), n - 1, self.p1))
            values, axes, _ = eigh(scatter)
            k = min(n - 1, self.p1)  # the others are 0
            rows[:, :k] = transpose(axes[..., -k:] * np.sqrt(np.maximum(values[:, None, -k:], 0.0))) if k else 0.0
            found.append(rows)
        return found

    def statistics(self, points: Points) -> TwoLevelStatistics:
        """Cluster-wise statistics of R data sets with the moments asked for."""
        means = self._means(points)
        factor = psd_factor(points.within)[:, None]
        scatter = np.matmul(np.matmul(factor, self.scatter), transpose(factor))
        return from_cluster_means(self.layout, points.level1, points.level2, scatter.sum(axis=1), means, scatter)

    def sample(self, points: Points) -> Sample:
        """Rows of R data sets with the moments asked for."""
        means, layout, p1 = self._means(points), self.layout, self.p1
        factor = transpose(psd_factor(points.within))[:, None]
        rows = np.empty((len(points), layout.n_obs, p1))
        blocks = zip(layout.distinct, layout.counts, layout.starts, self._contrasts(), strict=True)
        for n, count, start, contrasts in blocks:
            deviations = np.matmul(_helmert(int(n)), contrasts)  # (M, n, p1)
            block = np.tile(deviations, (int(count) // len(deviations), 1, 1)).reshape(-1, p1)
            centre = np.repeat(means[:, start : start + count, :p1], n, axis=1)
            first = layout.row_starts[start]
            rows[:, first : first + n * count] = centre + np.matmul(block, factor[:, 0])
        return Sample(layout, points.level1, points.level2, rows, np.ascontiguousarray(means[..., p1:]))

    def _means(self, points: Points) -> FloatArray:
        """Cluster vectors (R, J, p)."""
        factor = psd_factor(points.between)
        parts = []
        for s, (start, count) in enumerate(zip(self.layout.starts, self.layout.counts, strict=True)):
            z = self.z[start : start + count]
            parts.append(points.means[:, s, None, :] + np.matmul(z, transpose(factor[:, s])))
        return np.concatenate(parts, axis=1)


def _helmert(n: int) -> FloatArray:
    """Orthonormal contrasts (n, n - 1), orthogonal to the constant."""
    raw = np.zeros((n, n - 1))
    for k in range(n - 1):
        raw[: k + 1, k] = 1.0
        raw[k + 1, k] = -(k + 1.0)
        raw[:, k] /= np.sqrt((k + 1.0) * (k + 2.0))
    return raw
